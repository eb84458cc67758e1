"""Rules that synchronize and name another target or source than before.

What they have generated is left as it is and belongs to them no more, as Kyverno warns when such a change is applied.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from kymograph.controllers import policies
from kymograph.controllers.background import downstream, generating
from kymograph.engine import policy as compiled

_TARGET = ("apiVersion", "kind", "namespace", "name", "clone", "cloneList")


class Moved(NamedTuple):
    """Such a rule.

    Attributes:
        key: Its policy.
        policy: That policy as labels and UpdateRequests name it.
        rule: Its name.
        about: Identifies the version of the policy that names another.
        kinds: API version and kind of what it generated before.
    """

    key: policies.Key
    policy: str
    rule: str
    about: tuple[str, ...]
    kinds: tuple[tuple[str, str], ...]


def between(before: compiled.CompiledPolicy, held: policies.Held, after: compiled.CompiledPolicy) -> Iterator[Moved]:
    """The rules of a policy of which one version names another target than the next, which is held."""
    now = {rule.name: generating.written(after, rule) for rule in after.generate.every}
    for rule in before.generate.every:
        was = generating.written(before, rule)
        if rule.body.synchronize and rule.name in now and _is_elsewhere(was, now[rule.name]):
            about = ("policy", held.uid, str(held.generation), "")
            yield Moved(held.key, after.key, rule.name, about, tuple(downstream.kinds_of(was)))


def _is_elsewhere(was: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    if _target(was) != _target(now):
        return True
    loops = [(each.get("list"), _target(each)) for each in now.get("foreach") or ()]
    return any(
        (listed, target) not in loops and any(other == listed for other, _ in loops)
        for listed, target in ((each.get("list"), _target(each)) for each in was.get("foreach") or ())
    )


def _target(pattern: Mapping[str, Any]) -> dict[str, Any]:
    return {field: pattern[field] for field in _TARGET if field in pattern}
