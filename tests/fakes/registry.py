"""A small registry of images: the pulling half of the distribution specification, with token or password."""

import base64
import hashlib
import json
from typing import Any

from aiohttp import web

from fakes import httpservice

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


class Registry:
    """Answers for a `Service`.

    Args:
        service: The server whose requests it answers.

    Attributes:
        manifests: Content and media type by `repository:tag` and `repository@digest`.
        blobs: Content by `repository@digest`.
        demands: `""`, `basic` or `bearer`.
        password: The `user:password` that is right; empty: a token is given to everybody.
        realm: Where tokens are given; by default here.
        elsewhere: Where blobs are redirected to; empty for nowhere.
    """

    def __init__(self, service: httpservice.Service) -> None:
        service.answer = self._answer
        self.service = service
        self.manifests: dict[str, tuple[bytes, str]] = {}
        self.blobs: dict[str, bytes] = {}
        self.demands = ""
        self.password = ""
        self.realm = ""
        self.elsewhere = ""
        self.tokens = 0

    def push(self, repository: str, tag: str, configuration: Any, **manifest: Any) -> str:
        """Add an image; returns the digest of its manifest."""
        content = json.dumps(configuration).encode()
        self.blobs[f"{repository}@{digest(content)}"] = content
        described = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(content)}
        document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": [], **manifest}
        return self.put(repository, tag, document, MANIFEST)

    def index(self, repository: str, tag: str, *entries: dict[str, Any]) -> str:
        """Add an index; returns its digest."""
        return self.put(repository, tag, {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(entries)}, INDEX)

    def put(self, repository: str, tag: str, document: Any, media_type: str) -> str:
        """Add a manifest of any content."""
        content = json.dumps(document).encode()
        found = digest(content)
        self.manifests[f"{repository}@{found}"] = content, media_type
        if tag:
            self.manifests[f"{repository}:{tag}"] = content, media_type
        return found

    @property
    def asked(self) -> list[str]:
        """The paths that were asked for."""
        return [request.path for request in self.service.requests]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/token":
            return self._token(request)
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        repository, what, identifier = request.path.removeprefix("/v2/").rsplit("/", 2)
        mark = "@" if identifier.startswith("sha256:") else ":"
        if what == "manifests" and f"{repository}{mark}{identifier}" in self.manifests:
            content, media_type = self.manifests[f"{repository}{mark}{identifier}"]
            return web.Response(body=content, headers={"Content-Type": media_type})
        if what == "blobs" and f"{repository}@{identifier}" in self.blobs:
            if self.elsewhere and "stored" not in request.query:
                return web.Response(status=307, headers={"Location": f"{self.elsewhere}{request.path}?stored"})
            return web.Response(body=self.blobs[f"{repository}@{identifier}"])
        return web.json_response({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "unknown"}]}, status=404)

    def _refusal(self, request: web.Request) -> web.Response | None:
        given = request.headers.get("Authorization", "")
        basic = "Basic " + base64.b64encode(self.password.encode()).decode()
        if "stored" in request.query or given == {"": "", "basic": basic, "bearer": "Bearer t0ken"}[self.demands]:
            return None
        realm = self.realm or f"https://{request.host}/token"
        challenge = {"basic": 'Basic realm="r"', "bearer": f'Bearer realm="{realm}",service="s",scope="all:of:it"'}
        return web.Response(status=401, headers={"WWW-Authenticate": challenge[self.demands]})

    def _token(self, request: web.Request) -> web.Response:
        self.tokens += 1
        basic = "Basic " + base64.b64encode(self.password.encode()).decode()
        if self.password and request.headers.get("Authorization") != basic:
            return web.Response(status=401)
        return web.json_response({"token": "t0ken", "expires_in": 300})


def digest(content: bytes) -> str:
    """The digest of a document."""
    return "sha256:" + hashlib.sha256(content).hexdigest()
