"""PolicyExceptions (`kyverno.io`, v2 and v2beta1): objects that some rules of some policies pass over.

An exception is matched like a rule, with what Kyverno does differently kept: operations are not looked at, a namespace
selector does not keep Namespaces out, user info counts even where there is no user. One whose conditions fail does not
apply: a mistake in an exception must not let anything through.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kymograph.apimachinery import gvk, objectkey, wildcard
from kymograph.engine import budget as budgets
from kymograph.engine import conditions, errors, fields, wellformed
from kymograph.engine.match import filters, target
from kymograph.engine.podsecurity import exclusions

GROUP = "kyverno.io"
VERSIONS = ("v2", "v2beta1")
KIND = "PolicyException"

_SPEC = ("background", "match", "conditions", "exceptions", "podSecurity")
_USER_INFO = ("roles", "clusterRoles", "subjects")

_Rules = tuple[Callable[[str], bool], ...]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class CompiledException:
    """One exception, ready to be applied. Compared and hashed by identity.

    Attributes:
        key: `namespace/name`, as messages and reports name it.
        name: Its name.
        namespace: Its namespace.
        resource_version: Its resourceVersion; empty for one from a file.
        background: It also counts where there is no request, in background scans.
        policies: The names of the policies it is about, `name` or `namespace/name`.
        matches: Whether it is about a target.
        needs_namespace_labels: That looks at the labels of the object's namespace.
        needs_roles: That looks at the roles of the user.
        conditions: What else must hold; None for nothing.
        pod_security: The controls of the Pod Security Standards that it is limited to; empty for all of a rule.
        document: The exception as applied; not to be changed.
    """

    key: str
    name: str
    namespace: str
    resource_version: str
    background: bool
    policies: Mapping[str, _Rules]
    matches: Callable[[target.Target], bool]
    needs_namespace_labels: bool
    needs_roles: bool
    conditions: conditions.Conditions | None
    pod_security: tuple[exclusions.Exclusion, ...]
    document: Mapping[str, Any]

    def names(self, policy: str, rule: str) -> bool:
        """Whether it is about a rule of a policy; rule names of an exception may hold wildcards."""
        return any(matches(rule) for matches in self.policies.get(policy, ()))

    def applies(self, subject: target.Target, context: dict[str, Any], budget: budgets.Budget) -> bool:
        """Whether it is about an object, in a context.

        Raises:
            BudgetExhausted: Its conditions took too much. Other failures mean that it does not apply.
        """
        try:
            if not self.matches(subject):
                return False
            return self.conditions is None or self.conditions.evaluate(context, budget)[0]
        except errors.BudgetExhausted:
            raise
        except errors.EvaluationError:
            return False


class Exceptions:
    """All exceptions at one moment, by the policies that they are about. Never changes.

    Args:
        exceptions: The exceptions, in any order.
    """

    __slots__ = ("_by_policy", "needs_namespace_labels", "needs_roles")

    def __init__(self, exceptions: Iterable[CompiledException] = ()) -> None:
        by_policy: dict[str, list[CompiledException]] = {}
        for each in sorted(exceptions, key=lambda each: each.key):
            for policy in each.policies:
                by_policy.setdefault(policy, []).append(each)
        self._by_policy = {policy: tuple(found) for policy, found in by_policy.items()}
        found = [each for several in self._by_policy.values() for each in several]
        self.needs_namespace_labels = any(each.needs_namespace_labels for each in found)
        self.needs_roles = any(each.needs_roles for each in found)

    def __bool__(self) -> bool:
        return bool(self._by_policy)

    def of(self, policy: str) -> tuple[CompiledException, ...]:
        """The exceptions that are about a policy, by the key of the policy."""
        return self._by_policy.get(policy, ())

    def in_background(self) -> "Exceptions":
        """Those that also count where there is no request."""
        every = {each for several in self._by_policy.values() for each in several}
        return Exceptions(each for each in every if each.background)


NONE = Exceptions()


def compile_exception(document: Mapping[str, Any]) -> CompiledException:
    """Compile an exception.

    Args:
        document: The object, `kyverno.io/v2` or `v2beta1`, PolicyException; it is not changed.

    Raises:
        PolicyInvalid: With all problems that were found.
    """
    problems = fields.Problems()
    wellformed.check(document, problems)
    problems.raise_if_any()
    top = fields.Fields(document, "", problems, ("apiVersion", "kind", "metadata", "spec"))
    group, version = gvk.split_api_version(top.text("apiVersion"))
    if group != GROUP or version not in VERSIONS:
        problems.add("apiVersion", f"must be {' or '.join(f'{GROUP}/{each}' for each in VERSIONS)}")
    top.text("kind", among=(KIND,))
    held = top.raw("metadata")
    metadata = fields.Fields(held, "metadata", problems, tuple(held) if isinstance(held, Mapping) else ())
    spec = fields.Fields(top.raw("spec"), "spec", problems, _SPEC)
    background = spec.boolean("background", default=True)
    matches, needs_labels, needs_roles = _match(spec, background=background)
    compiled = None
    if "conditions" in spec:
        try:
            compiled = conditions.compile(spec.raw("conditions"), spec.at("conditions"))
        except errors.PolicyInvalid as invalid:
            problems.absorb(invalid)
    policies = _policies(spec)
    pod_security = exclusions.read(spec.items("podSecurity"), problems)
    name, namespace = metadata.text("name"), metadata.text("namespace")
    resource_version = metadata.text("resourceVersion")
    problems.raise_if_any()
    return CompiledException(
        key=objectkey.of(namespace, name),
        name=name,
        namespace=namespace,
        resource_version=resource_version,
        background=background,
        policies=policies,
        matches=matches,
        needs_namespace_labels=needs_labels,
        needs_roles=needs_roles,
        conditions=compiled,
        pod_security=pod_security,
        document=document,
    )


def check(document: Mapping[str, Any]) -> None:
    """Look at an exception that is written to a cluster: it must compile, and name images where its controls have any.

    Args:
        document: The object; it is not changed.

    Raises:
        PolicyInvalid: With all problems that were found.
    """
    compile_exception(document)
    problems = fields.Problems()
    spec = fields.Fields(document["spec"], "spec", problems, _SPEC)
    exclusions.check_images(tuple(spec.items("podSecurity")), problems)
    problems.raise_if_any()


def _policies(spec: fields.Fields) -> dict[str, _Rules]:
    if not spec.raw("exceptions"):
        spec.wrong("exceptions", "an exception names the policies and rules that it is about")
    policies: dict[str, _Rules] = {}
    for entry, path in spec.items("exceptions"):
        block = fields.Fields(entry, path, spec.problems, ("policyName", "ruleNames"))
        policy = block.text("policyName")
        if not policy:
            block.wrong("policyName", "An exception requires a policy name")
        rules = tuple(wildcard.compile(rule) for rule in block.texts("ruleNames"))
        policies[policy] = policies.get(policy, ()) + rules
    return policies


def _match(spec: fields.Fields, *, background: bool) -> tuple[Callable[[target.Target], bool], bool, bool]:
    """Whether a target is matched, and whether that looks at the namespace's labels and at the user's roles."""
    if not isinstance(spec.raw("match"), Mapping):
        spec.wrong("match", "must be an object with any or all")
        return _never, False, False
    block = fields.Fields(spec.raw("match"), spec.at("match"), spec.problems, ("any", "all"))
    if block.raw("any") and block.raw("all"):
        spec.problems.add(block.path, "Can't specify any and all together")
    form = "any" if block.raw("any") else "all"
    read = []
    for entry, path in block.items(form):
        found = filters.read(_without(entry), path, spec.problems)
        elsewhere = filters.read(_without(entry, "namespaceSelector"), path, fields.Problems())
        if not found.describes_resource and not isinstance(entry, Mapping):
            continue
        for name in _USER_INFO if background else ():
            if isinstance(entry, Mapping) and entry.get(name):
                spec.problems.add(
                    f"{path}.{name}", "Usage of user info is forbidden in background mode: set background to false"
                )
        read.append((found, elsewhere))
    if not read:
        spec.problems.add(block.path, "at least one resource filter must be specified")
        return _never, False, False
    tests = tuple(_test(found, elsewhere) for found, elsewhere in read)
    needs_labels = any(found.needs_namespace_labels for found, _ in read)
    needs_roles = any(found.needs_roles for found, _ in read)
    if form == "all":
        return filters.every(tests), needs_labels, needs_roles
    return lambda subject: any(test(subject) for test in tests), needs_labels, needs_roles


def _test(found: filters.Filter, of_namespaces: filters.Filter) -> Callable[[target.Target], bool]:
    def matches(subject: target.Target) -> bool:
        each = of_namespaces if subject.is_namespace else found
        return each.resource(subject) and (each.user is None or each.user(subject))

    return matches


def _without(entry: Any, *names: str) -> Any:
    """A filter without its operations, which exceptions do not look at, and without other fields of its resources."""
    resources = entry.get("resources") if isinstance(entry, Mapping) else None
    if not isinstance(resources, Mapping):
        return entry
    return {**entry, "resources": {key: value for key, value in resources.items() if key not in ("operations", *names)}}


def _never(_subject: target.Target) -> bool:
    return False
