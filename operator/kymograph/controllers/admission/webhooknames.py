"""What webhook configurations and their webhooks are called: in our words, or in Kyverno's for tools that look there.

Ours differ from Kyverno's on purpose, so that both operators can be in one cluster while users change over. With
Kyverno's names only one of them can.
"""

import collections
import dataclasses
import hashlib
from collections.abc import Callable, Collection, Mapping

_LONGEST = 253
"""The most characters that the API server takes for the name of a webhook."""


@dataclasses.dataclass(frozen=True, slots=True)
class Names:
    """One way to call things.

    Attributes:
        policies: The configuration that has policies checked.
        validation: The one that has resources validated.
        mutation: The one that has them mutated.
        reachability: The one that proves that API servers reach us.
        ttl: The one that has labels checked that say when an object goes.
        label: The label, key and value, that all configurations have.
        policy_webhook: The only webhook of the first.
        reachability_webhook: The only webhook of the one for reachability.
        ttl_webhook: The only webhook of the last.
        shared: From (verb, failure policy) to the name of the webhook that policies share.
        fine_grained: From (verb, failure policy, key of a policy) to the name of a webhook of its own.
        lease: The Lease that says when an API server last reached us.
        reached: The annotation of that Lease with the time.
    """

    policies: str
    validation: str
    mutation: str
    reachability: str
    ttl: str
    label: tuple[str, str]
    policy_webhook: str
    reachability_webhook: str
    ttl_webhook: str
    shared: Callable[[str, str], str]
    fine_grained: Callable[[str, str, str], str]
    lease: str
    reached: str

    @property
    def labels(self) -> Mapping[str, str]:
        """The label of all configurations, as a map."""
        return dict([self.label])

    def of_policies(self, verb: str, failure_policy: str, keys: Collection[str]) -> dict[str, str]:
        """The names of the webhooks that policies have of their own, by key: each once, and none too long.

        Two keys may make one name (`a/b-c` and `a-b/c`), and the API server refuses a whole configuration for that.
        """
        plain = {key: self.fine_grained(verb, failure_policy, key) for key in keys}
        times = collections.Counter(plain.values())
        return {
            key: name if times[name] == 1 and len(name) <= _LONGEST else self._distinguished(verb, failure_policy, key)
            for key, name in plain.items()
        }

    def _distinguished(self, verb: str, failure_policy: str, key: str) -> str:
        digest = hashlib.sha256(key.encode()).hexdigest()[:16]
        return self.fine_grained(verb, failure_policy, f"{key.replace('/', '-')[:150].rstrip('.-')}-{digest}")


def _joined(key: str, separator: str) -> str:
    return key.replace("/", separator)


KYMOGRAPH = Names(
    policies="kymograph-policy-validation",
    validation="kymograph-resource-validation",
    mutation="kymograph-resource-mutation",
    reachability="kymograph-reachability",
    ttl="kymograph-ttl-validation",
    label=("app.kubernetes.io/managed-by", "kymograph"),
    policy_webhook="policies.validate.kymograph.dev",
    reachability_webhook="reachability.kymograph.dev",
    ttl_webhook="ttl.validate.kymograph.dev",
    shared=lambda verb, failure: f"{failure.lower()}.{verb}.kymograph.dev",
    fine_grained=lambda verb, failure, key: f"{_joined(key, '.')}.{failure.lower()}.{verb}.kymograph.dev",
    lease="kymograph-health",
    reached="kymograph.dev/last-request-time",
)
"""Our own."""

KYVERNO = Names(
    policies="kyverno-policy-validating-webhook-cfg",
    validation="kyverno-resource-validating-webhook-cfg",
    mutation="kyverno-resource-mutating-webhook-cfg",
    reachability="kyverno-verify-mutating-webhook-cfg",
    ttl="kyverno-ttl-validating-webhook-cfg",
    label=("webhook.kyverno.io/managed-by", "kyverno"),
    policy_webhook="validate-policy.kyverno.svc",
    reachability_webhook="monitor-webhooks.kyverno.svc",
    ttl_webhook="kyverno-cleanup-controller.kyverno.svc",
    shared=lambda verb, failure: f"{verb}.kyverno.svc-{failure.lower()}",
    fine_grained=lambda verb, failure, key: f"{verb}.kyverno.svc-{failure.lower()}-finegrained-{_joined(key, '-')}",
    lease="kyverno-health",
    reached="kyverno.io/last-request-time",
)
"""Kyverno's (`pkg/config`, `pkg/controllers/webhook`)."""

BY_WORD: Mapping[str, Names] = {"kymograph": KYMOGRAPH, "kyverno": KYVERNO}
"""What `--webhook-names` may say."""
