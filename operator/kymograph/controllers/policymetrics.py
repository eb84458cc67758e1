"""What metrics say of policies themselves: which rules there are, what changed, and nothing of what is gone.

Kyverno counts every policy as created when it starts, and an update that changes the mode twice. Here a change is what
happens after the first complete list; a new incarnation of a policy is a deletion and a creation.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from kymograph.controllers import policies
from kymograph.engine import actions, errors
from kymograph.telemetry import policyresults, work
from kymograph.telemetry.instruments import Instruments, labels

_TYPES = {"verifyImages": "imageVerify"}
_BODIES = ("validate", "mutate", "generate", "verifyImages")


class PolicyMetrics:
    """Follows the policies of a store.

    Args:
        instruments: The instruments of the process.
        store: Whose policies.
    """

    def __init__(self, instruments: Instruments, store: policies.PolicyStore) -> None:
        self._instruments = instruments
        self._counted = work.Work(instruments, "policycache-controller")
        self._store = store
        self._known = {held.key: held for held in store.held}
        store.listen(self._changed)
        store.time_compiling(self._compiled)
        instruments.policy_rule_info.observe(self._rules)
        instruments.policy_ready.observe(self._readiness)
        instruments.policies_held.observe(self._compiling)

    def _changed(self, key: policies.Key, held: policies.Held | None) -> None:
        before = self._known.pop(key, None)
        if held is not None:
            self._known[key] = held
        replaced = before is not None and held is not None and before.uid != held.uid
        if before is not None and (held is None or replaced):
            self._count(before, "deleted")
            about = {"policy_namespace": key.namespace or "-", "policy_name": key.name}
            self._instruments.registry.forget(about)
        if held is None or not self._store.complete.is_set():
            return
        if before is None or replaced:
            self._count(held, "created")
        elif before.document.get("spec") != held.document.get("spec"):
            self._count(held, "updated")

    def _compiled(self, held: policies.Held, seconds: float) -> None:
        result = "failure" if held.compiled is None else "success"
        self._instruments.policy_compilation.bind((result,)).record(seconds)
        self._counted.reconciled(seconds, work.SUCCESS if held.compiled is not None else errors.PolicyInvalid.__name__)

    def _readiness(self) -> Iterator[tuple[labels.PolicyName, float]]:
        for held in self._store.held:
            key = held.key
            about = labels.PolicyName(_type(key), key.namespace or "-", key.name)
            yield about, int(held.compiled is not None and _is_ready(held.document))

    def _compiling(self) -> Iterator[tuple[tuple[str, str], float]]:
        for held in self._store.held:
            yield (_type(held.key), labels.boolean(value=held.compiled is not None)), 1

    def _count(self, held: policies.Held, change: str) -> None:
        mode, kind, background, namespace, name = _policy(held)
        self._instruments.policy_changes.bind(labels.Change(mode, kind, background, namespace, name, change)).add()

    def _rules(self) -> Iterator[labels.RuleInfo]:
        """The labels of all rules; read by the threads that collect."""
        for held in self._store.held:
            mode, kind, background, namespace, name = _policy(held)
            ready = labels.boolean(value=_is_ready(held.document))
            for rule, rule_type in _rules_of(held):
                yield labels.RuleInfo(namespace, name, ready, mode, kind, background, rule, rule_type)


def _policy(held: policies.Held) -> tuple[str, str, str, str, str]:
    """Mode, type, background mode, namespace and name, as labels have them."""
    if held.compiled is not None:
        mode, background = held.compiled.validation_action, held.compiled.background
    else:
        spec = _mapping(held.document.get("spec"))
        mode, background = _declared_action(spec), spec.get("background") is not False
    return (
        mode.lower(),
        _type(held.key),
        labels.boolean(value=background),
        held.key.namespace or "-",
        held.key.name,
    )


def _type(key: policies.Key) -> str:
    return policyresults.policy_type(key.kind)


def _declared_action(spec: Mapping[str, Any]) -> str:
    """The action of a policy that does not compile: nothing in it need be what it should."""
    said = [spec.get("validationFailureAction")]
    said += [_mapping(rule.get("validate")).get("failureAction") for rule in _written(spec)]
    return actions.ENFORCE if any(str(each).lower() == "enforce" for each in said) else actions.AUDIT


def _rules_of(held: policies.Held) -> list[tuple[str, str]]:
    """Names and types of a policy's rules: with those for the controllers of Pods where it compiles."""
    if held.compiled is not None:
        return [(rule.name, rule.type) for rule in held.compiled.rules]
    found = []
    for rule in _written(_mapping(held.document.get("spec"))):
        body = next((each for each in _BODIES if each in rule), "-")
        found.append((str(rule.get("name") or ""), _TYPES.get(body, body)))
    return found


def _written(spec: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return _mappings(spec.get("rules"))


def _is_ready(document: Mapping[str, Any]) -> bool:
    conditions = _mappings(_mapping(document.get("status")).get("conditions"))
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []
