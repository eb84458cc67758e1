"""Which resource serves a kind that a policy or an UpdateRequest names."""

from typing import Protocol

from kymograph.apimachinery import gvk
from kymograph.clients.kubernetes import discovery, resources
from kymograph.controllers.background import errors


class Catalogues(Protocol):
    """What the API server serves."""

    @property
    def current(self) -> discovery.Catalogue:
        """The latest known."""

    async def refresh(self) -> discovery.Catalogue:
        """Ask the API server again."""


def known(catalogue: discovery.Catalogue, api_version: str, kind: str) -> resources.Resource | None:
    """The resource of a kind by what is known; in the version its group prefers where none is named."""
    group, version = gvk.split_api_version(api_version) if api_version else ("*", "*")
    for served in catalogue.find(group, version, kind, ""):
        return resources.Resource(
            served.group, served.version, served.plural, served.kind, namespaced=served.namespaced
        )
    return None


async def resource_of(catalogues: Catalogues, api_version: str, kind: str) -> resources.Resource:
    """The resource of a kind; the API server is asked where it is not known.

    Raises:
        Failing: The API server does not serve the kind; its CustomResourceDefinition may come later.
        KubernetesError: The API server did not answer.
    """
    found = known(catalogues.current, api_version, kind)
    if found is None:
        found = known(await catalogues.refresh(), api_version, kind)
    if found is None:
        raise errors.Failing(f"the API server serves no {kind} of {api_version}")
    return found
