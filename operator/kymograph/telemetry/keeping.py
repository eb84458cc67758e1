"""Keep rules: which requests keep our spans although nobody sampled them.

They are applied at a request's end, when it is known what the request turned out to be. Callers and those we called
were told that the trace is not sampled, and stay so; only our own spans are kept, and say why.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kymograph.apimachinery import duration
from kymograph.telemetry import errors

DENIED = "denied"
ERROR = "error"
SLOW = "slow"
POLICY = "policy"
NAMESPACE = "namespace"
SAMPLING_RULE = "sampling_rule"
"""No keep rule: a sampling rule about policies, which is known to fit only at the end."""


@dataclasses.dataclass(frozen=True, slots=True)
class Keep:
    """The rules; without any, a request's spans are kept if and only if it was sampled.

    Attributes:
        denied: Keep requests that were denied.
        errors: Keep requests in which a policy could not be evaluated.
        slower_than_ns: Keep requests that took longer, in nanoseconds; None for no limit.
        policies: Keep requests that these policies were applied to: `name`, or `namespace/name`.
        namespaces: Keep requests for objects in these namespaces.
    """

    denied: bool = False
    errors: bool = False
    slower_than_ns: int | None = None
    policies: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(
            self.denied or self.errors or self.slower_than_ns is not None or self.policies or self.namespaces,
        )

    @property
    def judges_work(self) -> bool:
        """Whether a rule may keep the trace of work outside of requests; see `undecided`."""
        return bool(self.errors or self.policies or self.namespaces)

    def rule(
        self,
        *,
        denied: bool,
        failed: Callable[[], bool],
        elapsed_ns: int,
        namespace: str,
        policies: Callable[[], Iterable[str]],
    ) -> str:
        """Find the rule by which a request is kept.

        Args:
            denied: It was denied.
            failed: Tells whether a policy could not be evaluated; asked only if a rule wants to know.
            elapsed_ns: Nanoseconds that it took.
            namespace: The namespace of its object, or an empty string.
            policies: Names the policies that were applied; asked only if a rule wants to know.

        Returns:
            The first rule that applies, in the order `denied`, `error`, `slow`, `policy`, `namespace`; an empty string
            if none does.
        """
        if self.denied and denied:
            return DENIED
        if self.errors and failed():
            return ERROR
        if self.slower_than_ns is not None and elapsed_ns > self.slower_than_ns:
            return SLOW
        if self.policies and not self.policies.isdisjoint(policies()):
            return POLICY
        if namespace in self.namespaces:
            return NAMESPACE
        return ""


NOTHING = Keep()
"""No rules: exactly what was sampled."""


def from_spec(spec: Mapping[str, Any], path: str) -> Keep:
    """Read `keep` of a TracingConfiguration.

    Raises:
        SettingsInvalid: `slowerThan` is no positive duration.
    """
    slower_than = None
    if (written := spec.get("slowerThan")) is not None:
        try:
            slower_than = duration.parse(str(written))
        except ValueError as error:
            raise errors.SettingsInvalid(f"{path}.slowerThan", str(error)) from error
        if slower_than <= 0:
            raise errors.SettingsInvalid(f"{path}.slowerThan", f"{written!r} is not more than nothing")
    return Keep(
        denied=bool(spec.get("denied", False)),
        errors=bool(spec.get("errors", False)),
        slower_than_ns=slower_than,
        policies=frozenset(map(str, spec.get("policies") or ())),
        namespaces=frozenset(map(str, spec.get("namespaces") or ())),
    )
