"""Looks up images: manifests and configurations by the distribution specification, past the guard, traced and bounded.

Everything is checked against its digest. Blobs may be redirected (registries keep them in object stores); credentials
stay with the host that they are for. What is named by digest is asked for once.
"""

import dataclasses
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import yarl

from kymograph.clients.http import errors as http_errors
from kymograph.clients.http import transport
from kymograph.clients.registry import authorization, cache, credentials, errors, manifests, reference
from kymograph.engine import needs
from kymograph.telemetry import semconv
from kymograph.telemetry.current import ClientSpan, ClientSpans

MAX_DOCUMENT = 4 * 1024 * 1024
"""Bytes of a manifest or configuration; registries take no larger manifests."""

CACHE_SIZE = 32 * 1024 * 1024
"""Bytes of manifests and configurations that are kept."""

_MAX_TOKEN_ANSWER = 256 * 1024
_TOKENS = 1_024
_MAX_REDIRECTS = 5
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_ACCEPT = ", ".join(manifests.MEDIA_TYPES)
_TEMPLATES = {"manifests": "/v2/{name}/manifests/{reference}", "blobs": "/v2/{name}/blobs/{digest}"}

Secrets = Callable[[str], Awaitable[Mapping[str, Any] | None]]
"""Reads a Secret of the operator's namespace; None where there is none of that name."""


class Registries:
    """Looks up images.

    Args:
        carrier: Sends what is to be sent.
        spans: Opens the span of each request.
        secrets: Reads pull secrets.
        clock: Monotonic seconds.
        pull_secrets: Secrets that are shown to their registries whatever a policy names.
        insecure: Registries may be called without TLS, whatever a policy says.
    """

    def __init__(
        self,
        carrier: transport.Transport,
        spans: ClientSpans,
        secrets: Secrets,
        clock: Callable[[], float] = time.monotonic,
        *,
        pull_secrets: Iterable[str] = (),
        insecure: bool = False,
    ) -> None:
        self.carrier = carrier
        self.spans = spans
        self.clock = clock
        self.kept = cache.Cache(CACHE_SIZE)
        self.tokens: dict[tuple[str, tuple[str, ...]], authorization.Token] = {}
        self._secrets = secrets
        self._pull_secrets = tuple(sorted(pull_secrets))
        self._insecure = insecure

    async def image(self, need: needs.ImageData) -> dict[str, Any]:
        """What a registry holds under a reference, as policies see it; `manifestList` is None where there is none.

        Raises:
            RegistryError: As its subclasses say.
        """
        if self._pull_secrets or self._insecure:
            secrets, insecure = (*need.secrets, *self._pull_secrets), need.insecure or self._insecure
            need = dataclasses.replace(need, secrets=secrets, insecure=insecure)
        wanted = reference.parse(need.reference)
        pull = _Pull(self, wanted, need, await self._credentials(need.secrets))
        content, content_type = await pull.manifest(wanted.asked)
        resolved = manifests.digest_of(content)
        document, listed = manifests.decode(content, "manifest"), None
        if manifests.is_index(document, content_type):
            listed = document
            content, _ = await pull.manifest(manifests.chosen(document))
            document = manifests.decode(content, "manifest")
        configuration = manifests.decode(await pull.blob(manifests.configuration(document)), "configuration")
        return {
            "image": need.reference,
            "resolvedImage": f"{wanted.name}@{resolved}",
            "registry": wanted.registry,
            "repository": wanted.repository,
            "identifier": wanted.identifier,
            "manifestList": listed,
            "manifest": document,
            "configData": configuration,
        }

    async def _credentials(self, names: Sequence[str]) -> list[credentials.Credentials]:
        held: list[credentials.Credentials] = []
        for name in names:
            if "/" in name:
                raise errors.CredentialsInvalid(f"the pull secret {name} must be one of the operator's namespace")
            secret = await self._secrets(name)
            if secret is not None:  # a missing one is passed over, as by Kyverno and the kubelet
                held += credentials.read(secret)
        return held


class _Pull:
    """One look at one repository, under one identity."""

    def __init__(
        self,
        owner: Registries,
        wanted: reference.Reference,
        need: needs.ImageData,
        held: Sequence[credentials.Credentials],
    ) -> None:
        self._owner = owner
        self._wanted = wanted
        self._need = need
        self._credentials = credentials.choose(held, wanted)
        self._secure = True
        self._authorization: str | None = None
        self._identity = (wanted.name, need.secrets)
        token = owner.tokens.get(self._identity)
        if token is not None and token.until > owner.clock():
            self._authorization = f"Bearer {token.value}"

    async def manifest(self, identifier: str) -> tuple[bytes, str]:
        """A manifest by tag or digest, and its media type."""
        if not reference.DIGEST.fullmatch(identifier):
            if identifier != self._wanted.tag:
                raise errors.ImageInvalid(f"unsupported digest algorithm: {identifier[:100]}")
            answer = await self._get("manifests", identifier, {"Accept": _ACCEPT})
            self._keep(manifests.digest_of(answer.body), answer.body)
            return answer.body, answer.headers.get("Content-Type", "")
        kept = self._kept(identifier)
        if kept is not None:
            return kept, ""
        answer = await self._get("manifests", identifier, {"Accept": _ACCEPT})
        self._keep(identifier, manifests.verify(answer.body, identifier))
        return answer.body, answer.headers.get("Content-Type", "")

    async def blob(self, digest: str) -> bytes:
        """A blob by digest."""
        if not reference.DIGEST.fullmatch(digest):
            raise errors.ImageInvalid(f"unsupported digest algorithm: {digest[:100]}")
        kept = self._kept(digest)
        if kept is not None:
            return kept
        answer = await self._get("blobs", digest, {"Accept": "*/*"})
        self._keep(digest, manifests.verify(answer.body, digest))
        return answer.body

    def _kept(self, digest: str) -> bytes | None:
        return self._owner.kept.get((self._identity, digest))

    def _keep(self, digest: str, content: bytes) -> None:
        self._owner.kept.put((self._identity, digest), content)

    async def _get(self, what: str, identifier: str, headers: Mapping[str, str]) -> transport.Answer:
        answer = await self._from_registry(what, identifier, headers)
        if answer.status == 401:
            await self._authorize(answer)
            answer = await self._from_registry(what, identifier, headers)
        if answer.status != 200:
            raise errors.ImageUnavailable(self._refusal(answer))
        return answer

    async def _from_registry(self, what: str, identifier: str, headers: Mapping[str, str]) -> transport.Answer:
        """Ask the registry; over plain HTTP where it speaks no TLS and the policy allows that."""
        try:
            return await self._followed(what, self._url(what, identifier), headers)
        except http_errors.Unreachable as error:
            if not (self._need.insecure and self._secure):
                raise errors.ImageUnavailable(str(error)) from error
            self._secure = False
        except http_errors.CallError as error:
            raise errors.ImageUnavailable(str(error)) from error
        try:
            return await self._followed(what, self._url(what, identifier), headers)
        except http_errors.CallError as error:
            raise errors.ImageUnavailable(str(error)) from error

    async def _followed(self, what: str, url: yarl.URL, headers: Mapping[str, str]) -> transport.Answer:
        origin = url.origin()
        for _ in range(_MAX_REDIRECTS + 1):
            sent = dict(headers)
            if self._authorization is not None and url.origin() == origin:
                sent["Authorization"] = self._authorization
            answer = await self._send(what, url, sent, MAX_DOCUMENT)
            target = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or target is None:
                return answer
            try:
                url = url.join(yarl.URL(target))
            except ValueError as error:
                raise http_errors.AnswerInvalid(f"{url.host} redirects to what is no URL") from error
            if self._secure and url.scheme != "https":
                raise http_errors.AnswerInvalid(f"{origin.host} redirects to a URL without TLS, which is not followed")
        raise http_errors.AnswerInvalid(f"stopped after {_MAX_REDIRECTS} redirects")

    async def _authorize(self, answer: transport.Answer) -> None:
        """Get what the registry demands.

        Raises:
            ImageUnavailable: It cannot be had.
        """
        demanded = self._demanded(answer)
        if demanded.scheme == "basic":
            if self._credentials is None:
                raise errors.ImageUnavailable(f"{self._wanted.registry} demands a password{self._hint()}")
            self._authorization = self._credentials.basic
            return
        url = authorization.token_url(demanded, self._wanted.repository, secure=self._secure)
        headers = {"Accept": "application/json"}
        if self._credentials is not None:
            headers["Authorization"] = self._credentials.basic
        try:
            given = await self._send("token", url, headers, _MAX_TOKEN_ANSWER)
        except http_errors.CallError as error:
            raise errors.ImageUnavailable(f"no token for {self._wanted.name}: {error}") from error
        if given.status != 200:
            raise errors.ImageUnavailable(f"no token for {self._wanted.name}: HTTP {given.status}{self._hint()}")
        token = authorization.read_token(given.body, self._owner.clock())
        if len(self._owner.tokens) >= _TOKENS:
            self._owner.tokens.clear()
        self._owner.tokens[self._identity] = token
        self._authorization = f"Bearer {token.value}"

    def _demanded(self, answer: transport.Answer) -> authorization.Challenge:
        for header in answer.headers.getall("WWW-Authenticate", ()):
            try:
                return authorization.parse(header)
            except errors.ImageUnavailable:
                continue
        raise errors.ImageUnavailable(f"{self._wanted.registry} does not say which authorization it demands")

    async def _send(self, what: str, url: yarl.URL, headers: Mapping[str, str], limit: int) -> transport.Answer:
        with self._span(what, url) as span:
            carrier = self._owner.carrier
            told = span.headers if carrier.trusted.told(url.host or "") else {}
            answer = await carrier.send("GET", url, limit=limit, headers={**headers, **told})
            span.set_status(answer.status)
            return answer

    def _span(self, what: str, url: yarl.URL) -> AbstractContextManager[ClientSpan]:
        attributes: dict[str, str | int] = {
            semconv.HTTP_REQUEST_METHOD: "GET",
            semconv.SERVER_ADDRESS: url.host or "",
            semconv.SERVER_PORT: url.port or 0,
            semconv.REGISTRY_REPOSITORY: self._wanted.name,
            semconv.REGISTRY_REFERENCE: self._wanted.identifier,
        }
        if url.authority == self._wanted.registry and what in _TEMPLATES:  # whoever it redirects to says more in paths
            attributes[semconv.URL_FULL] = str(url.with_query(None).with_fragment(None))
            attributes[semconv.URL_TEMPLATE] = _TEMPLATES[what]
        return self._owner.spans.start(f"REGISTRY {what}", attributes)

    def _url(self, what: str, identifier: str) -> yarl.URL:
        scheme = "https" if self._secure else "http"
        return yarl.URL(f"{scheme}://{self._wanted.registry}/v2/{self._wanted.repository}/{what}/{identifier}")

    def _refusal(self, answer: transport.Answer) -> str:
        reason = f"HTTP {answer.status} {answer.reason}".rstrip()
        try:
            listed = manifests.decode(answer.body, "answer").get("errors") or ()
            codes = [str(each["code"])[:100] for each in listed]
        except (errors.ImageInvalid, KeyError, TypeError):
            codes = []
        said = f"{reason}: {', '.join(codes)}" if codes else reason
        return f"{self._wanted.registry}: {said}{self._hint() if answer.status in (401, 403) else ''}"

    def _hint(self) -> str:
        if self._credentials is not None or not self._need.providers:
            return ""
        return f"; credential providers ({', '.join(self._need.providers)}) are not supported, pull secrets are"
