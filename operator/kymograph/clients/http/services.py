"""Service calls of policies (`apiCall.service`): JSON out, JSON in, a client span around each request.

A redirect is followed like a call of its own, past the same guard, never from https to http; what a policy's header
fields say is shown to the first host only. The token is a credential of the operator: it is shown to nobody on behalf
of a policy whose namespace is not on the list.
"""

import collections
import re
import ssl
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import orjson
import yarl

from kymograph.clients.http import errors, guard, transport
from kymograph.engine import needs
from kymograph.telemetry import semconv
from kymograph.telemetry.current import ClientSpan, ClientSpans

MAX_REDIRECTS = 10
"""As Go's HTTP client, which Kyverno uses."""

_CONTEXTS = 64
"""Certificate bundles of policies that are kept ready."""

_SHOWN = 1_024
"""Bytes of an error's body that are shown to whoever made the request under review."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_REDIRECTS = frozenset((301, 302, 303, 307, 308))


class Services:
    """Calls services on behalf of policies.

    Args:
        carrier: Sends what is to be sent.
        spans: Opens the span of each request.
        limit: The most bytes that an answer may have.
        token: Gives the bearer token that is shown on behalf of policies of a namespace (empty: of the cluster), or
            None for none. A policy that sets `Authorization` itself gets none.
    """

    def __init__(
        self,
        carrier: transport.Transport,
        spans: ClientSpans,
        limit: int,
        token: Callable[[str], str | None] = lambda _namespace: None,
    ) -> None:
        self._carrier = carrier
        self._spans = spans
        self._limit = limit
        self._token = token
        self._contexts: collections.OrderedDict[str, ssl.SSLContext] = collections.OrderedDict()

    async def call(self, call: needs.ServiceCall) -> Any:
        """The JSON that a service answers.

        Raises:
            CallError: As its subclasses say.
        """
        url, method, body = _url(call.url), call.method, call.body or None
        if method not in ("GET", "POST"):
            raise errors.CallInvalid(f"invalid request type {method}")
        headers = self._headers(call)
        tls = self._tls(call.ca_bundle) if call.ca_bundle else None
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._exchange(method, url, headers, body if method == "POST" else None, tls)
            target = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or target is None:
                return _value(answer)
            following = _followed(url, target)
            if following.origin() != url.origin():
                headers = {}
            if answer.status in (301, 302, 303):
                method = "GET"
            url = following
        raise errors.AnswerInvalid(f"stopped after {MAX_REDIRECTS} redirects")

    async def _exchange(
        self, method: str, url: yarl.URL, headers: Mapping[str, str], body: bytes | None, tls: ssl.SSLContext | None
    ) -> transport.Answer:
        with self._span(method, url) as span:
            told = span.headers if self._carrier.trusted.told(url.host or "") else {}
            sent = {**headers, **told}
            if body is not None:
                sent.setdefault("Content-Type", "application/json")
            answer = await self._carrier.send(method, url, limit=self._limit, headers=sent, body=body, tls=tls)
            span.set_status(answer.status)
            return answer

    def _span(self, method: str, url: yarl.URL) -> AbstractContextManager[ClientSpan]:
        attributes: Mapping[str, str | int] = {
            semconv.HTTP_REQUEST_METHOD: method,
            semconv.SERVER_ADDRESS: url.host or "",
            semconv.SERVER_PORT: url.port or 0,
            semconv.URL_FULL: str(url.with_user(None).with_query(None).with_fragment(None)),
        }
        return self._spans.start(f"HTTP {method}", attributes)

    def _headers(self, call: needs.ServiceCall) -> dict[str, str]:
        headers: dict[str, str] = {}
        for name, value in call.headers:
            if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
                raise errors.CallInvalid(f"header {name!r} is no header field: it has characters that none may have")
            headers[name] = value
        if not any(name.lower() == "authorization" for name in headers):
            token = self._token(call.policy_namespace)
            if token:
                headers["Authorization"] = f"Bearer {token}"
        return headers

    def _tls(self, bundle: str) -> ssl.SSLContext:
        context = self._contexts.get(bundle)
        if context is None:
            try:
                context = ssl.create_default_context(cadata=bundle)
            except (ssl.SSLError, ValueError) as error:
                raise errors.CallInvalid("caBundle holds no certificates in PEM") from error
            self._contexts[bundle] = context
            if len(self._contexts) > _CONTEXTS:
                self._contexts.popitem(last=False)
        else:
            self._contexts.move_to_end(bundle)
        return context


def _url(text: str, base: yarl.URL | None = None) -> yarl.URL:
    """A URL that can be called, relative to another one if there is one.

    Raises:
        CallInvalid: It cannot.
    """
    try:
        url = yarl.URL(text) if base is None else base.join(yarl.URL(text))
    except (ValueError, TypeError) as error:
        raise errors.CallInvalid(f"the URL cannot be called: {error}") from error
    guard.require_plain(url)
    return url


def _followed(url: yarl.URL, target: str) -> yarl.URL:
    following = _url(target, url)
    if url.scheme == "https" and following.scheme != "https":
        raise errors.AnswerInvalid(f"{url.host} redirects to a URL without TLS, which is not followed")
    return following


def _value(answer: transport.Answer) -> Any:
    if not 200 <= answer.status < 300:
        text = answer.body[:_SHOWN].decode(errors="replace")
        raise errors.StatusError(answer.status, f"HTTP {answer.status} {answer.reason}: {text}")
    try:
        return orjson.loads(answer.body)
    except orjson.JSONDecodeError as error:
        raise errors.AnswerInvalid(f"the answer is no JSON: {error}") from error
