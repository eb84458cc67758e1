"""Creates the UpdateRequests that no admission request asks for."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Protocol

from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.clients.kubernetes import resources
from kymograph.controllers import updaterequests
from kymograph.telemetry import current, propagation


class Creating(Protocol):
    """What is asked of a Kubernetes client."""

    async def create(
        self, resource: resources.Resource, document: Mapping[str, Any], *, namespace: str = ""
    ) -> dict[str, Any]:
        """Create an object."""


class Notes:
    """Notes work.

    Args:
        client: Creates UpdateRequests.
        namespace: Where.
        room: Waits while there are as many as there may be: a policy may be about more objects than that.
    """

    def __init__(self, client: Creating, namespace: str, room: Callable[[], Awaitable[None]]) -> None:
        self._client = client
        self._namespace = namespace
        self._room = room

    async def note(
        self,
        about: tuple[str, ...],
        type_: str,
        policy: str,
        rule: str,
        trigger: updaterequests.Reference,
        kinds: Iterable[tuple[str, str]] = (),
        *,
        marked: bool = False,
        lost: bool = False,
    ) -> None:
        """Note that a rule is to be applied, once for what it is about; waits for room.

        Args:
            about: What makes this work another than that; the rule and its trigger need not be told.
            type_: `generate` or `mutate`.
            policy: Key of the policy.
            rule: Name of the rule.
            trigger: Because of what.
            kinds: See `updaterequests.UpdateRequest.kinds`.
            marked: See `updaterequests.UpdateRequest.marked`.
            lost: The trigger seems to be none any more.

        Raises:
            KubernetesError: It could not be created.
        """
        part = updaterequests.Part(rule, trigger, deletes=bool(kinds) or lost)
        name = updaterequests.named(*about, policy, rule, trigger.uid)
        document = updaterequests.document(
            name, type_, policy, part, kinds=kinds, marked=marked, traceparent=_traceparent()
        )
        await self._room()
        try:
            await self._client.create(resources.UPDATE_REQUESTS, document, namespace=self._namespace)
        except kubernetes_errors.Conflict:
            return


def _traceparent() -> str:
    """The span of what is going on, which the work is linked to; empty where that is not traced."""
    found = current.place()
    return "" if found is None or not found[2] else propagation.render(found[0], found[1], sampled=True)
