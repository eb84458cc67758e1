"""The body `generate` of a rule, compiled: which objects should exist because of a trigger.

An object comes from `data` in the rule itself, from another object (`clone`), or from all objects of some kinds in a
namespace (`cloneList`); with `foreach` it is described once for each element of a list. Sources are asked for as needs.
What `synchronize` and the like mean is for whoever writes the objects; here they are only kept.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import orjson

from kymograph.engine import budget as budgets
from kymograph.engine import errors, fields, needs, variables
from kymograph.engine.generate import labels, wanted
from kymograph.engine.rules import loop

_TARGET = ("apiVersion", "kind", "namespace", "name")
_SOURCES = ("data", "clone", "cloneList")
_PATTERN = (*_TARGET, *_SOURCES)
_LOOP = ("list", "context", "preconditions")
_HOW = ("synchronize", "orphanDownstreamOnPolicyDelete", "generateExisting")

Context: TypeAlias = dict[str, Any]


class Generation:
    """A compiled `generate`.

    Attributes:
        synchronize: What was generated follows its rule, its source and its trigger.
        orphans_downstream: What was generated stays when the policy is deleted.
        generates_existing: Triggers that exist when the policy is written count; None where the rule does not say.
        kinds: The kinds of what is generated as they are written, with variables if they have any.
    """

    __slots__ = ("_loops", "_pattern", "_rule", "generates_existing", "kinds", "orphans_downstream", "synchronize")

    def __init__(self, block: fields.Fields, rule: str, *, namespace: str) -> None:
        self._rule = rule
        self.synchronize = block.boolean("synchronize", default=False)
        self.orphans_downstream = block.boolean("orphanDownstreamOnPolicyDelete", default=False)
        self.generates_existing = (
            block.boolean("generateExisting", default=False) if "generateExisting" in block else None
        )
        self._loops: tuple[tuple[loop.Loop, _Pattern], ...] = ()
        self._pattern: _Pattern | None = None
        if "foreach" not in block:
            self._pattern = _Pattern(block)
            self.kinds = self._pattern.kinds
            return
        loops = []
        for entry, path in block.items("foreach"):
            inner = fields.Fields(entry, path, block.problems, (*_LOOP, *_PATTERN))
            loops.append((loop.Loop(inner, namespace=namespace, nesting=0), _Pattern(inner)))
        self._loops = tuple(loops)
        self.kinds = tuple(kind for _, pattern in loops for kind in pattern.kinds)

    def wanted(
        self, context: Context, budget: budgets.Budget, own: Mapping[str, str], found: list[wanted.Wanted]
    ) -> None:
        """Say which objects should exist.

        Args:
            context: What expressions see.
            budget: What this may spend; is asked for sources.
            own: The labels that say because of which rule and trigger.
            found: Where they are added; in case of an error those that could be described.

        Raises:
            Needed: A source is not known yet.
            EvaluationError: Something could not be described, in Kyverno's words.
        """
        if self._pattern is not None:
            self._pattern.wanted(context, budget, own, found)
            return
        failures: list[str] = []
        for position, (each, pattern) in enumerate(self._loops):
            try:
                listed = each.listed(context, budget)
            except errors.BudgetExhausted:
                raise
            except errors.EvaluationError as error:
                failures.append(f"failed to evaluate {position} foreach list: {error}")
                continue
            inner = list(_over_elements(each, pattern, listed, context, budget, own, found))
            if inner:
                said = "; ".join(inner)
                failures.append(f"failed to process {position} foreach in rule {self._rule}: {said}")
        if failures:
            raise errors.EvaluationError("; ".join(failures))


def compile(  # noqa: A001 - the field's word
    document: Any, rule: str, path: str, problems: fields.Problems, *, namespace: str
) -> Generation | None:
    """Compile a body; None if anything is wrong with it.

    Args:
        document: The body as written.
        rule: Name of the rule.
        path: Path of the body in the policy.
        problems: Where to note what is wrong with it.
        namespace: Namespace of the policy; empty for a policy of the cluster.
    """
    before = len(problems)
    block = fields.Fields(document, path, problems, (*_PATTERN, *_HOW, "foreach"))
    body = Generation(block, rule, namespace=namespace)
    return body if len(problems) == before else None


def _over_elements(
    each: loop.Loop,
    pattern: "_Pattern",
    listed: list[Any],
    context: Context,
    budget: budgets.Budget,
    own: Mapping[str, str],
    found: list[wanted.Wanted],
) -> Iterator[str]:
    """Describe what each element wants; why not, for those that fail."""
    for item in each.elements(listed, context, budget):
        try:
            met = each.preconditions is None or each.preconditions.evaluate(item.context, budget)[0]
        except errors.BudgetExhausted:
            raise
        except errors.EvaluationError as error:
            yield f"failed to process {item.index} element: failed to evaluate preconditions: {error}"
            continue
        if not met:
            continue
        try:
            pattern.wanted(item.context, budget, own, found)
        except errors.BudgetExhausted:
            raise
        except errors.EvaluationError as error:
            yield f"failed to process {item.index} element: {error}"


class _Pattern:
    """What one `generate`, or one element of its `foreach`, describes."""

    __slots__ = ("_describe", "_target", "kinds")

    def __init__(self, block: fields.Fields) -> None:
        self._target = _templates(block, _TARGET)
        kind = block.text("kind")
        self._describe: Callable[..., None] | None = None
        clone = fields.Fields(block.raw("clone"), block.at("clone"), block.problems, ("name", "namespace"))
        several = fields.Fields(
            block.raw("cloneList"), block.at("cloneList"), block.problems, ("kinds", "namespace", "selector")
        )
        self.kinds = (kind,) if kind else several.texts("kinds")
        if "name" in clone:
            self._describe = _Clone(clone).describe
        elif several.texts("kinds"):
            self._describe = _CloneList(several).describe
        elif "data" in block:
            self._describe = _Data(block).describe

    def wanted(
        self, context: Context, budget: budgets.Budget, own: Mapping[str, str], found: list[wanted.Wanted]
    ) -> None:
        """Add what is described to what was found; nothing where the rule names no source."""
        if self._describe is None:
            return
        target = wanted.Reference(*(_text(self._target, field, context, budget) for field in _TARGET))
        self._describe(target, context, budget, own, found)


class _Data:
    """The content stands in the rule."""

    __slots__ = ("_template",)

    def __init__(self, block: fields.Fields) -> None:
        self._template = _template(block, "data")

    def describe(
        self,
        target: wanted.Reference,
        context: Context,
        budget: budgets.Budget,
        own: Mapping[str, str],
        found: list[wanted.Wanted],
    ) -> None:
        data = self._template.resolve(context, budget)
        if not isinstance(data, dict):
            raise errors.EvaluationError(f"the data of {target} must be an object")
        found.append(wanted.described(target, data, own))


class _Clone:
    """The content is that of one other object of the same kind."""

    __slots__ = ("_source",)

    def __init__(self, block: fields.Fields) -> None:
        self._source = _templates(block, ("namespace", "name"))

    def describe(
        self,
        target: wanted.Reference,
        context: Context,
        budget: budgets.Budget,
        own: Mapping[str, str],
        found: list[wanted.Wanted],
    ) -> None:
        namespace, name = (_text(self._source, field, context, budget) for field in ("namespace", "name"))
        if (namespace, name) == (target.namespace, target.name):
            return  # an object is not cloned onto itself
        source = budget.ask(needs.Object(target.api_version, target.kind, namespace, name))
        if source is None:
            missing = f'{target.kind} "{name}" not found'
            raise errors.EvaluationError(f"source resource {target} not found: {missing}")
        found.append(wanted.cloned(target, source, {**labels.of_source(source), **own}))


class _CloneList:
    """The contents are those of all objects of some kinds in a namespace; each clone is named as its source."""

    __slots__ = ("_kinds", "_namespace", "_selector")

    def __init__(self, block: fields.Fields) -> None:
        self._kinds = _template(block, "kinds")
        self._namespace = _templates(block, ("namespace",))
        self._selector = _template(block, "selector")

    def describe(
        self,
        target: wanted.Reference,
        context: Context,
        budget: budgets.Budget,
        own: Mapping[str, str],
        found: list[wanted.Wanted],
    ) -> None:
        namespace = _text(self._namespace, "namespace", context, budget)
        selector = self._selector.resolve(context, budget)
        query = orjson.dumps(selector, option=orjson.OPT_SORT_KEYS).decode() if selector else ""
        for kind in self._kinds.resolve(context, budget):
            api_version, _, name = str(kind).rpartition("/")
            try:
                sources = budget.ask(needs.Objects(api_version, name, namespace, query))
            except errors.BudgetExhausted:
                raise
            except errors.EvaluationError as error:
                raise errors.EvaluationError(
                    f"failed to list source resource for cloneList {api_version} {name}/{namespace}. {error}"
                ) from error
            for source in sources:
                metadata = source.get("metadata") or {}
                if (metadata.get("namespace") or "") == target.namespace:
                    continue
                budget.spend()
                clone = wanted.Reference(
                    source["apiVersion"], source["kind"], target.namespace, metadata.get("name") or ""
                )
                found.append(wanted.cloned(clone, source, {**labels.of_source(source), **own}))


def _templates(block: fields.Fields, names: tuple[str, ...]) -> dict[str, variables.Template]:
    return {name: _compiled(block, name, block.text(name)) for name in names}


def _template(block: fields.Fields, name: str) -> variables.Template:
    return _compiled(block, name, block.raw(name))


def _compiled(block: fields.Fields, name: str, value: Any) -> variables.Template:
    try:
        return variables.compile(value, block.at(name))
    except errors.PolicyInvalid as invalid:
        block.problems.absorb(invalid)
        return variables.compile("", block.at(name))


def _text(templates: Mapping[str, variables.Template], name: str, context: Context, budget: budgets.Budget) -> str:
    value = templates[name].resolve(context, budget)
    if not isinstance(value, str):
        raise errors.EvaluationError(f"{name} must become a string, not {value!r}")
    return value
