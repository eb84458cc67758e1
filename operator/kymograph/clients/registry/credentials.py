"""Credentials for registries out of pull secrets (`kubernetes.io/dockerconfigjson` and `kubernetes.io/dockercfg`).

A secret says for which registries its credentials are, and they are shown to no other: a key is a host, perhaps with a
port, a path prefix and `*` within a label of the host, as the kubelet reads it. The most specific key wins.
"""

import base64
import binascii
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from kymograph.apimachinery import wildcard
from kymograph.clients.registry import errors, reference

_CONTENT = {"kubernetes.io/dockerconfigjson": ".dockerconfigjson", "kubernetes.io/dockercfg": ".dockercfg"}


@dataclasses.dataclass(frozen=True, slots=True)
class Credentials:
    """A name and password for the repositories under a prefix.

    Attributes:
        host: Host and perhaps port, with wildcards.
        path: Path prefix of the repositories; empty for all.
        username: Who.
        password: Never shown in errors or traces.
    """

    host: str
    path: str
    username: str
    password: str = dataclasses.field(repr=False)

    @property
    def basic(self) -> str:
        """The value of an `Authorization` header (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


def read(secret: Mapping[str, Any]) -> list[Credentials]:
    """The credentials of a pull secret.

    Raises:
        CredentialsInvalid: It is no pull secret, or its content cannot be read.
    """
    name = secret["metadata"]["name"]
    entry = _CONTENT.get(secret.get("type") or "")
    if entry is None:
        raise errors.CredentialsInvalid(f"the Secret {name} is of type {secret.get('type')!r}, which is no pull secret")
    try:
        document = orjson.loads(base64.b64decode((secret.get("data") or {})[entry]))
        listed = document.get("auths", {}) if entry == ".dockerconfigjson" else document
        return [_entry(key, value) for key, value in listed.items() if isinstance(value, dict)]
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        raise errors.CredentialsInvalid(f"{entry} of the Secret {name} cannot be read") from error


def choose(held: Iterable[Credentials], wanted: reference.Reference) -> Credentials | None:
    """The credentials for a repository: of those that fit, the ones with the longest key."""
    fitting = [each for each in held if _fits(each, wanted)]
    return max(fitting, key=lambda each: (len(each.path), len(each.host)), default=None)


def _entry(key: str, value: Mapping[str, Any]) -> Credentials:
    _, _, location = key.rpartition("://")
    host, _, path = location.partition("/")
    if host == "docker.io":
        host = reference.DOCKER_HUB
    path = path.strip("/")
    if path in ("v1", "v2"):  # of registries' own addresses, as `https://index.docker.io/v1/`
        path = ""
    username, password = value.get("username") or "", value.get("password") or ""
    if value.get("auth"):
        try:
            decoded = base64.b64decode(value["auth"]).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise ValueError(key) from error
        username, _, password = decoded.partition(":")
    return Credentials(host, path, str(username), str(password).rstrip("\0"))


def _fits(held: Credentials, wanted: reference.Reference) -> bool:
    patterns, labels = held.host.split("."), wanted.registry.split(".")
    if len(patterns) != len(labels) or not all(map(wildcard.match, patterns, labels)):
        return False
    return not held.path or f"{wanted.repository}/".startswith(f"{held.path}/")
