"""Has the API server look at the match conditions of a policy before it takes the policy.

Conditions are CEL, which API servers compile and evaluate. They refuse a webhook configuration as a whole for one
condition that does not compile, so each policy's are tried by themselves first: a dry run of a configuration that asks
nobody.
"""

import re
from collections.abc import Mapping
from typing import Any, Protocol

from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.clients.kubernetes import resources
from kymograph.engine import errors
from kymograph.engine.policy import CompiledPolicy

_FIELD = "spec.webhookConfiguration.matchConditions"
_INVALID = 422
_WHERE = re.compile(r"^.*?webhooks\[0\]\.matchConditions", re.DOTALL)


class Trying(Protocol):
    """What is asked of a Kubernetes client."""

    async def create(
        self, resource: resources.Resource, document: Mapping[str, Any], *, namespace: str = "", dry_run: bool = False
    ) -> dict[str, Any]:
        """Create an object, or only see whether that could be done."""


class ConditionCheck:
    """Looks at match conditions.

    Args:
        client: Tries a webhook configuration.
    """

    def __init__(self, client: Trying) -> None:
        self._client = client

    async def problems(self, policy: CompiledPolicy) -> tuple[errors.Problem, ...]:
        """What the API server has against the conditions of a policy; nothing where it cannot be asked."""
        if not policy.match_conditions:
            return ()
        try:
            await self._client.create(
                resources.VALIDATING_WEBHOOK_CONFIGURATIONS, _trial(policy.match_conditions), dry_run=True
            )
        except kubernetes_errors.StatusError as error:
            if error.code != _INVALID:
                return ()  # it is left out of the webhooks then, and the log says why
            return (errors.Problem(_FIELD, _WHERE.sub(_FIELD, error.message)),)
        except kubernetes_errors.KubernetesError:
            return ()
        return ()


def _trial(conditions: tuple[Mapping[str, str], ...]) -> dict[str, Any]:
    return {
        "apiVersion": resources.VALIDATING_WEBHOOK_CONFIGURATIONS.api_version,
        "kind": resources.VALIDATING_WEBHOOK_CONFIGURATIONS.kind,
        "metadata": {"generateName": "kymograph-trial-"},
        "webhooks": [
            {
                "name": "trial.kymograph.dev",
                "admissionReviewVersions": ["v1"],
                "clientConfig": {"url": "https://127.0.0.1/trial"},
                "failurePolicy": "Ignore",
                "matchConditions": [dict(each) for each in conditions],
                "rules": [],
                "sideEffects": "None",
            }
        ],
    }
