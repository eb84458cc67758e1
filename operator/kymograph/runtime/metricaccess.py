"""Who may read the metrics: whoever the API server knows and lets `get` the path `/metrics`, as other components do it.

A scraper shows its ServiceAccount's token; a TokenReview says whose it is, a SubjectAccessReview whether that user may.
Answers are remembered for a while, by a digest of the token, in a table of bounded size. Tokens are neither kept nor
logged, and whoever makes them up cannot make us ask the API server more than a few questions at once.
"""

import dataclasses
import hashlib
import http
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from kymograph.clients.kubernetes import errors, resources
from kymograph.telemetry import current

logger = logging.getLogger(__name__)

PATH = "/metrics"

ALLOWED_FOR = 60.0
"""Seconds for which a scraper that was let in is: how long a right that is taken away may be used."""

REFUSED_FOR = 10.0
"""Seconds for which a refusal stands: how long a right that was just given may have to wait."""

MOST_REMEMBERED = 256
"""Answers that are remembered; the oldest goes first."""

MOST_ASKED = 8
"""Tokens that the API server is asked about at once; more are turned away (429)."""

_BEARER = "bearer "
_TOKEN_REVIEWS = resources.Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False)
_ACCESS_REVIEWS = resources.Resource(
    "authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", namespaced=False
)


class Creating(Protocol):
    """What is asked of a Kubernetes client."""

    async def create(self, resource: resources.Resource, document: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object; the answer is the object with its status."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Answer:
    status: http.HTTPStatus
    until: float


class Access:
    """Says who may read the metrics.

    Args:
        client: Asks the API server, with the operator's identity.
        clock: Monotonic seconds.
    """

    def __init__(self, client: Creating, clock: Callable[[], float]) -> None:
        self._client = client
        self._clock = clock
        self._answers: dict[bytes, _Answer] = {}
        self._asking = 0

    async def judge(self, authorization: str) -> http.HTTPStatus:
        """Judge a request by its header field `Authorization`.

        Returns:
            200 for a scraper that may; 401 for one that nobody knows, 403 for one that may not, 429 where too many ask
            at once, 503 where the API server does not say.
        """
        if authorization[: len(_BEARER)].lower() != _BEARER:
            return http.HTTPStatus.UNAUTHORIZED
        token = authorization[len(_BEARER) :].strip()
        if not token.isascii():  # no token has such characters, and not all of them can be sent on
            return http.HTTPStatus.UNAUTHORIZED
        digest = hashlib.sha256(token.encode()).digest()
        known = self._answers.get(digest)
        if known is not None and self._clock() < known.until:
            return known.status
        if self._asking >= MOST_ASKED:
            return http.HTTPStatus.TOO_MANY_REQUESTS
        self._asking += 1
        try:
            with current.untraced():
                status = await self._ask(token)
        except errors.KubernetesError as error:
            logger.warning("Who may read the metrics cannot be found out: %s", error)
            return http.HTTPStatus.SERVICE_UNAVAILABLE
        finally:
            self._asking -= 1
        self._remember(digest, status)
        return status

    async def _ask(self, token: str) -> http.HTTPStatus:
        review = await self._client.create(_TOKEN_REVIEWS, _document(_TOKEN_REVIEWS, {"token": token}))
        status = review.get("status") or {}
        user = status.get("user") or {}
        if status.get("authenticated") is not True or not user.get("username"):
            return http.HTTPStatus.UNAUTHORIZED
        asked = {
            "user": user["username"],
            "uid": user.get("uid") or "",
            "groups": user.get("groups") or [],
            "extra": user.get("extra") or {},
            "nonResourceAttributes": {"path": PATH, "verb": "get"},
        }
        access = await self._client.create(_ACCESS_REVIEWS, _document(_ACCESS_REVIEWS, asked))
        allowed = (access.get("status") or {}).get("allowed") is True
        return http.HTTPStatus.OK if allowed else http.HTTPStatus.FORBIDDEN

    def _remember(self, digest: bytes, status: http.HTTPStatus) -> None:
        self._answers.pop(digest, None)
        while len(self._answers) >= MOST_REMEMBERED:
            del self._answers[next(iter(self._answers))]
        lasts = ALLOWED_FOR if status is http.HTTPStatus.OK else REFUSED_FOR
        self._answers[digest] = _Answer(status, self._clock() + lasts)


def _document(resource: resources.Resource, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": resource.api_version, "kind": resource.kind, "spec": spec}
