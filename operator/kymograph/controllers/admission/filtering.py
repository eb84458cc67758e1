"""Requests that no policy is for, because the ConfigMap says so: answered with yes, as if there were no policies.

Kyverno drops them in the same place (`pkg/webhooks/handlers/filter.go`), before any policy is evaluated.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from kymograph.clients.kubernetes import discovery
from kymograph.controllers.configuration import exclusions, reading
from kymograph.engine import errors, needs, policyset

logger = logging.getLogger(__name__)


class Filtering:
    """Looks at requests for the ConfigMap.

    Args:
        configured: Gives what it says at the moment.
        catalogues: Knows the kinds behind subresources; None where those of the requests have to do.
    """

    def __init__(
        self,
        configured: Callable[[], reading.Configuration] = lambda: reading.NOTHING,
        catalogues: discovery.Catalogues | None = None,
    ) -> None:
        self._configured = configured
        self._catalogues = catalogues

    def by_roles(self) -> exclusions.Exclusions | None:
        """Whom the ConfigMap excludes, where it takes the user's roles to say so; None where it does not."""
        found = self._configured().exclusions
        return found if found.needs_roles else None

    def filters(self, request: Mapping[str, Any]) -> bool:
        """Whether no policy is for a request, as far as that can be said without the user's roles."""
        configuration = self._configured()
        if configuration is reading.NOTHING:
            return False
        excluded = configuration.exclusions
        if excluded and not excluded.needs_roles:
            user, groups = _user(request)
            if excluded.match(user, groups):
                return True
        if not configuration.filters:
            return False
        kind, resource, subresource = request["kind"], request["resource"], request.get("subResource") or ""
        name = kind["kind"]
        if self._catalogues is not None and subresource not in policyset.SAME_KIND:
            served = self._catalogues.current.kind_of(resource["group"], resource["version"], resource["resource"])
            if served is not None:  # the request's kind is not that of the object
                kind, name = resource, served
        return configuration.filters.match(
            (kind["group"], kind["version"], name),
            subresource,
            str(request.get("namespace") or ""),
            str(request.get("name") or ""),
        )


def excludes(excluded: exclusions.Exclusions, request: Mapping[str, Any], facts: needs.Facts) -> bool:
    """Whether the user of a request is excluded; not where their roles cannot be known.

    Raises:
        Needed: The roles are not known yet.
    """
    user, groups = _user(request)
    try:
        roles: needs.Roles = facts.require(needs.UserRoles(user, groups, str(request.get("namespace") or "")))
    except errors.EvaluationError as error:
        logger.warning("Whether the ConfigMap excludes %s by their roles cannot be said: %s", user, error)
        return False
    return excluded.match(user, groups, roles.roles, roles.cluster_roles)


def _user(request: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    info = request.get("userInfo") or {}
    return str(info.get("username") or ""), tuple(map(str, info.get("groups") or ()))
