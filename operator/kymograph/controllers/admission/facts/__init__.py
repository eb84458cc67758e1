"""Answers what evaluations need to know beyond the request: of the cluster, and of the world that contexts name."""

from kymograph.controllers.admission.facts.cluster import ClusterFacts, namespaces
from kymograph.controllers.admission.facts.context import Calls, ContextFacts, config_maps
from kymograph.engine import needs

__all__ = ["Calls", "ClusterFacts", "ContextFacts", "Facts", "config_maps", "namespaces"]

_OF_THE_CLUSTER = (needs.NamespaceLabels, needs.ResourceKind, needs.UserRoles)


class Facts:
    """Gives each need to whoever knows.

    Args:
        cluster: Knows the surroundings of requests.
        context: Knows what contexts name.
    """

    def __init__(self, cluster: ClusterFacts, context: ContextFacts) -> None:
        self._cluster = cluster
        self._context = context

    def at_hand(self, need: needs.Need, facts: needs.Facts) -> bool:
        """Add what a need turns out to be where that is known without asking anybody; whether it is."""
        return self._of(need).at_hand(need, facts)

    async def fetch(self, need: needs.Need, facts: needs.Facts) -> None:
        """Find out what a need turns out to be and add it, or the reason why it cannot be known."""
        await self._of(need).fetch(need, facts)

    def _of(self, need: needs.Need) -> ClusterFacts | ContextFacts:
        return self._cluster if isinstance(need, _OF_THE_CLUSTER) else self._context
