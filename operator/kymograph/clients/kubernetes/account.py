"""Who we are to the API server."""

from collections.abc import Mapping
from typing import Any, Protocol

from kymograph.clients.kubernetes import resources

_REVIEWS = resources.Resource(
    "authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", namespaced=False
)


class Creating(Protocol):
    """What a review is asked of."""

    async def create(self, resource: resources.Resource, document: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object; the answer is the object with its status."""


async def username(client: Creating) -> str:
    """The name of the user that the API server takes us for.

    Raises:
        KubernetesError: It did not answer.
    """
    answered = await client.create(_REVIEWS, {"apiVersion": _REVIEWS.api_version, "kind": _REVIEWS.kind})
    return str(((answered.get("status") or {}).get("userInfo") or {}).get("username") or "")
