"""How a registry is told who asks: Basic, or a token of the server that the registry names (distribution's token auth).

The challenge of a registry decides where credentials go, so the token server is called past the same guard, and only
over TLS where the registry is.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import orjson
import yarl

from kymograph.clients.registry import errors

_CHALLENGE = re.compile(r"\s*([A-Za-z]+)(?:\s+(.*))?", re.DOTALL)
_PARAMETER = re.compile(r'([A-Za-z_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_SOON = 5.0
"""Seconds before its end from which a token is not used."""

DEFAULT_LIFETIME = 60.0
"""Seconds that a token counts whose answer does not say (distribution specification, "Token response fields")."""

LONGEST_LIFETIME = 3_600.0


class Challenge(NamedTuple):
    """What a registry demands.

    Attributes:
        scheme: `basic` or `bearer`.
        parameters: `realm`, `service`, `scope`, as far as they are given.
    """

    scheme: str
    parameters: Mapping[str, str]


class Token(NamedTuple):
    """A bearer token.

    Attributes:
        value: The token.
        until: The monotonic time in seconds from which it is not used.
    """

    value: str
    until: float


def parse(header: str) -> Challenge:
    """Read a `WWW-Authenticate` header.

    Raises:
        ImageUnavailable: It demands something else than a password or a token.
    """
    found = _CHALLENGE.fullmatch(header)
    scheme = found[1].lower() if found else ""
    if found is None or scheme not in ("basic", "bearer"):
        raise errors.ImageUnavailable("the registry demands a kind of authorization that is not known here")
    parameters = {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(found[2] or "")}
    return Challenge(scheme, parameters)


def token_url(challenge: Challenge, repository: str, *, secure: bool) -> yarl.URL:
    """Where a token for pulling from a repository is asked for.

    Args:
        challenge: What the registry demands.
        repository: The repository; the registry's own idea of the scope is not asked, which could be a wider one.
        secure: Whether the registry was asked over TLS, so that nothing else may be.

    Raises:
        ImageUnavailable: The registry names no place, or one without TLS.
    """
    try:
        realm = yarl.URL(challenge.parameters.get("realm", ""))
    except ValueError as error:
        raise errors.ImageUnavailable("the registry names no token server") from error
    if realm.scheme != "https" and (secure or realm.scheme != "http"):
        raise errors.ImageUnavailable("the registry names a token server without TLS")
    query = {"scope": f"repository:{repository}:pull"}
    if "service" in challenge.parameters:
        query["service"] = challenge.parameters["service"]
    return realm.update_query(query)


def read_token(body: bytes, now: float) -> Token:
    """Read the answer of a token server.

    Args:
        body: The answer.
        now: Monotonic seconds.

    Raises:
        ImageUnavailable: It holds no token.
    """
    try:
        document = orjson.loads(body)
        value = document.get("token") or document["access_token"]
        lifetime = float(document.get("expires_in") or DEFAULT_LIFETIME)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise errors.ImageUnavailable("the token server gave no token") from error
    if not isinstance(value, str) or not re.fullmatch(r"[\x21-\x7e]+", value):
        raise errors.ImageUnavailable("the token server gave no token")
    return Token(value, now + min(lifetime, LONGEST_LIFETIME) - _SOON)
