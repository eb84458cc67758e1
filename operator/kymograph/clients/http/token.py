"""The token that calls of chosen policies carry: a projected one with an audience of its own, as Kyverno's.

It should be no token that the API server takes, since a service that is shown it could use it there; which it is, is
said by whoever mounts it.
"""

import logging
import pathlib
from collections.abc import Collection

logger = logging.getLogger(__name__)

CLUSTER_POLICIES = "ClusterPolicy"
"""The entry of the list that stands for policies of the cluster; no namespace can be called so."""

EVERY_POLICY = "*"


class Token:
    """Gives the token to calls of policies of listed namespaces, read anew each time: the kubelet renews it.

    Args:
        path: The file.
        namespaces: Which namespaces; `ClusterPolicy` for policies of the cluster, `*` for every policy.
    """

    def __init__(self, path: pathlib.Path, namespaces: Collection[str]) -> None:
        self._path = path
        self._namespaces = frozenset(namespaces)

    def __call__(self, namespace: str) -> str | None:
        """The token for a policy of a namespace (empty: of the cluster), or None."""
        if not self._namespaces & {namespace or CLUSTER_POLICIES, EVERY_POLICY}:
            return None
        try:
            return self._path.read_text().strip() or None
        except (OSError, ValueError) as error:
            logger.warning("The token for service calls cannot be read, they go without it: %s", error)
            return None
