"""`traces.samplingRules`: other rates for some namespaces, policies and controllers. The first that fits counts.

What a request is about is known when it begins, which policies apply only when it ends. So a request whose rate depends
on policies is decided at once where every rate that may turn out to be its own says the same of its trace id, and is
recorded until its end only where they differ: a rule of one in a thousand has one request in a thousand recorded.
"""

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from kymograph.apimachinery import wildcard
from kymograph.telemetry import errors

MILLION: Final = 1_000_000


@dataclasses.dataclass(frozen=True, slots=True)
class SamplingRule:
    """A rate for those that it is about. What is empty restricts nothing.

    Attributes:
        rate_per_million: How many of a million traces without a sampling parent are made.
        namespaces: Patterns of namespaces; objects without one match none.
        policies: Patterns of `name` or `namespace/name`; one policy that applies is enough.
        controllers: Whose traces.
    """

    rate_per_million: int
    namespaces: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    controllers: frozenset[str] = frozenset()

    def covers(self, namespace: str) -> bool:
        """Whether it is about objects of a namespace, or of none (an empty string)."""
        if not self.namespaces:
            return True
        return bool(namespace) and any(wildcard.match(each, namespace) for each in self.namespaces)

    def applies(self, namespace: str, policies: Collection[str]) -> bool:
        """Whether it is about an object of a namespace that these policies were applied to."""
        return self.covers(namespace) and (
            not self.policies or any(wildcard.match(each, policy) for each in self.policies for policy in policies)
        )


def rate(rules: Sequence[SamplingRule], namespace: str, policies: Collection[str], otherwise: int) -> int:
    """The rate per million of the first rule that applies, or the common one."""
    for rule in rules:
        if rule.applies(namespace, policies):
            return rule.rate_per_million
    return otherwise


def rates(rules: Sequence[SamplingRule], namespace: str, otherwise: int) -> tuple[int, int]:
    """The least and the greatest rate that may turn out to be a request's own while its policies are not known."""
    least, greatest = MILLION, 0
    for rule in rules:
        if rule.covers(namespace):
            least, greatest = min(least, rule.rate_per_million), max(greatest, rule.rate_per_million)
            if not rule.policies:
                return least, greatest
    return min(least, otherwise), max(greatest, otherwise)


def for_controller(rules: Sequence[SamplingRule], controller: str) -> tuple[SamplingRule, ...]:
    """The rules that are about a controller's traces."""
    return tuple(rule for rule in rules if not rule.controllers or controller in rule.controllers)


def from_spec(spec: Iterable[Mapping[str, Any]], path: str, controllers: Collection[str]) -> tuple[SamplingRule, ...]:
    """Read `samplingRules` of a TracingConfiguration.

    Raises:
        SettingsInvalid: A rate is missing or out of range, or a controller is not known.
    """
    return tuple(_rule(each, f"{path}[{index}]", controllers) for index, each in enumerate(spec))


def _rule(spec: Mapping[str, Any], path: str, controllers: Collection[str]) -> SamplingRule:
    written = spec.get("samplingRatePerMillion")
    if not isinstance(written, int) or not 0 <= written <= MILLION:
        raise errors.SettingsInvalid(f"{path}.samplingRatePerMillion", f"{written!r} is not between 0 and {MILLION}")
    for name in spec.get("controllers") or ():
        if name not in controllers:
            raise errors.SettingsInvalid(f"{path}.controllers", f"{name!r} is none of {', '.join(controllers)}")
    return SamplingRule(
        rate_per_million=written,
        namespaces=tuple(map(str, spec.get("namespaces") or ())),
        policies=tuple(map(str, spec.get("policies") or ())),
        controllers=frozenset(map(str, spec.get("controllers") or ())),
    )
