"""Policies applied to one object after the other, as an API server's requests would meet them.

The order is that of Kyverno's policy processor: the mutate rules of all policies, each seeing what the one before made
of the object; then the verifyImages rules likewise; then the validate rules, on the object as it came out, and what
verifyImages rules have to say of it; then the generate rules. Policies keep the order in which they were given.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from kymograph.apimachinery import gvk
from kymograph.cli.offline import answers, request, simulated
from kymograph.engine import budget, errors, evaluate, exceptions, mutate, needs, policy, results, scene, watching
from kymograph.engine import context as contexts
from kymograph.engine.generate import planning
from kymograph.engine.images import application as images
from kymograph.engine.mutate import existing
from kymograph.engine.rules import outcome

_Found = TypeVar("_Found")

MUTATE, VERIFY, VALIDATE, GENERATE = "mutate", "imageVerify", "validate", "generate"


class Patched(NamedTuple):
    """An existing object that a rule with targets changed.

    Attributes:
        result: The result of the rule.
        resource: The object as it has become.
    """

    result: results.RuleResult
    resource: dict[str, Any]


class Response(NamedTuple):
    """What the rules of one type of one policy made of an object.

    Attributes:
        policy: The policy.
        type: `mutate`, `imageVerify`, `validate` or `generate`.
        results: The results of the rules that matched; empty if none did.
        resource: The object as the rules left it.
        generated: For each result of a generate rule, what should exist because of it; empty for other types.
        targets: The existing objects that mutate rules changed; their results are among the results too.
        unmade: For each result of a generate rule why its objects cannot be described, empty where they can; the
            result says of the rule what it would without them, as in Kyverno.
    """

    policy: policy.CompiledPolicy
    type: str
    results: tuple[results.RuleResult, ...]
    resource: dict[str, Any]
    generated: tuple[tuple[dict[str, Any], ...], ...] = ()
    targets: tuple[Patched, ...] = ()
    unmade: tuple[str, ...] = ()


class Judged(NamedTuple):
    """What became of one object.

    Attributes:
        resource: The object after all mutations.
        responses: One for each type of rules of each policy, in the order of their evaluation; for generate rules
            only where one matched.
    """

    resource: dict[str, Any]
    responses: tuple[Response, ...]


class Judge:
    """Applies the same policies to many objects.

    Args:
        policies: The policies, in the order of their evaluation.
        world: What stands in for the cluster.
        excepted: The PolicyExceptions that count.
        sources: What generate rules may clone beside the object itself: objects, by the key of the policy.
        watcher: Is told the steps; None for nobody.
        clock: A monotonic clock in nanoseconds.
    """

    def __init__(
        self,
        policies: Iterable[policy.CompiledPolicy],
        world: answers.Answers,
        excepted: Iterable[exceptions.CompiledException] = (),
        sources: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
        watcher: watching.Watcher | None = None,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._policies = tuple(policies)
        self._mutating = tuple(each for each in self._policies if each.mutate.every)
        self._verifying = tuple(each for each in self._policies if each.verify.every)
        self._validating = tuple(each for each in self._policies if each.validate.every)
        self._generating = tuple(each for each in self._policies if each.generate.every)
        self._sources = sources or {}
        self._world = world
        self._excepted = tuple(excepted)
        self._exceptions = exceptions.Exceptions(self._excepted)
        self._watcher = watcher
        self._clock = clock

    def judge(self, resource: dict[str, Any], operation: str = "") -> Judged:
        """Apply the policies to an object.

        Args:
            resource: The object, prepared (`resources.prepare`); it is not changed.
            operation: CREATE, UPDATE or DELETE; empty for what the values say, CREATE if nothing.
        """
        facts = needs.Facts(self._world.without)
        chain = request.Requests(resource, operation, self._world)
        responses: list[Response] = []
        for each in self._mutating:
            seen = chain.of(each)
            response = self._mutate(each, seen, facts)
            chain.become(response.resource)
            responses.append(response)
        for each in self._verifying:
            seen = chain.of(each)
            response = self._verify(each, seen, facts)
            chain.become(response.resource)
            responses.append(response)
        for seen, policies in _runs(self._validating, chain):
            found = {each.policy: each.rules for each in self._validate(policies, seen, facts)}
            responses += [Response(each, VALIDATE, found.get(each, ()), seen.resource) for each in policies]
        for each in self._generating:
            generated = self._generate(each, chain.of(each))
            if generated is not None:
                responses.append(generated)
        return Judged(chain.resource, tuple(responses))

    def watched(self, each: policy.CompiledPolicy, watcher: watching.Watcher) -> "Judge":
        """The same with one of the policies only, and with somebody who is told the steps."""
        return Judge((each,), self._world, self._excepted, self._sources, watcher, self._clock)

    def inspect(self, each: policy.CompiledPolicy, seen: request.Seen) -> "Inspection":
        """What the rules of a policy look at, for tools that explain them."""
        facts = needs.Facts(self._world.without)
        stage = self._answered(lambda: scene.of((each,), seen.request, facts, self._exceptions, seen.values), facts)
        return Inspection(stage, facts, self._answered)

    def sees(self, each: policy.CompiledPolicy, resource: dict[str, Any], operation: str) -> request.Seen:
        """What a policy sees of an object that no other policy has changed."""
        return request.Requests(resource, operation, self._world).of(each)

    def _mutate(self, each: policy.CompiledPolicy, seen: request.Seen, facts: needs.Facts) -> Response:
        mutation = mutate.Mutation(
            (each,),
            seen.request,
            facts,
            budget.Budget(),
            self._clock,
            self._watcher,
            self._exceptions,
            seen.values,
        )
        mutated = self._answered(mutation.run, facts)
        found = [result for part in mutated.results for result in part.rules]
        patched: list[Patched] = []
        if any(rule.body.targets for rule in each.mutate.every):
            for result, resource in self._existing(each, seen, facts):
                found.append(result)
                if resource is not None:
                    patched.append(Patched(result, resource))
        resource = seen.resource if mutated.resource is None else mutated.resource
        return Response(each, MUTATE, tuple(found), resource, targets=tuple(patched))

    def _verify(self, each: policy.CompiledPolicy, seen: request.Seen, facts: needs.Facts) -> Response:
        verification = images.Verification(
            (each,),
            seen.request,
            facts,
            budget.Budget(),
            self._clock,
            self._watcher,
            self._exceptions,
            seen.values,
        )
        verified = self._answered(verification.run, facts)
        found = tuple(result for part in verified.results for result in part.rules)
        return Response(each, VERIFY, found, seen.resource if verified.resource is None else verified.resource)

    def _existing(
        self, each: policy.CompiledPolicy, seen: request.Seen, facts: needs.Facts
    ) -> Iterator[tuple[results.RuleResult, dict[str, Any] | None]]:
        """What the rules with targets make of the objects that exist: a result each, and the object if it changed."""
        spent = budget.Budget()
        ask = functools.partial(
            existing.triggered,
            (each,),
            seen.request,
            facts,
            spent,
            self._clock,
            self._watcher,
            self._exceptions,
            seen.values,
        )
        for found in self._answered(ask, facts):
            if found.result is not None:
                yield found.result, None
                continue
            for meant in found.meant:
                if meant.wanted is None:
                    yield self._result(found.rule, outcome.ERROR, meant.reason), None
                    continue
                is_meant = meant.wanted.matcher()
                of_kind = meant.wanted.kind.matcher()
                for each_object in self._world.objects:
                    group, version = gvk.split_api_version(str(each_object.get("apiVersion") or ""))
                    if not of_kind(group, version, str(each_object.get("kind") or ""), "") or not is_meant(each_object):
                        continue
                    change = functools.partial(existing.change, found, meant.target, each_object, spent)
                    changed = self._answered(change, facts)
                    result = self._result(found.rule, changed.outcome.status, changed.outcome.message)
                    yield result, changed.resource if changed.outcome.status == outcome.PASS else None

    def _result(self, rule: policy.CompiledRule, status: str, message: str) -> results.RuleResult:
        now = self._clock()
        return results.RuleResult(rule, status, message, rule.fixed_action, now, now, rule.plain_properties, None)

    def _generate(self, each: policy.CompiledPolicy, seen: request.Seen) -> Response | None:
        """What the generate rules of a policy want; None where none matched. Sources are those of the policy only."""
        held = simulated.Cluster([seen.resource, *(self._sources.get(each.key) or self._sources.get(each.name, ()))])
        for found in self._planned(each, seen, held, describes=True):
            rules = found.result.rules
            wanted = tuple(tuple(one.manifest for one in of_rule) for of_rule in found.wanted)
            failed = [result for result in rules if result.status == outcome.ERROR]
            if not failed:
                return Response(each, GENERATE, rules, seen.resource, wanted)
            (entered,) = self._planned(each, seen, held, describes=False)
            unmade = tuple(
                had.message if had.status == outcome.ERROR != would.status else ""
                for had, would in zip(rules, entered.result.rules, strict=True)
            )
            return Response(each, GENERATE, entered.result.rules, seen.resource, wanted, unmade=unmade)
        return None

    def _planned(
        self, each: policy.CompiledPolicy, seen: request.Seen, held: simulated.Cluster, *, describes: bool
    ) -> tuple[planning.Planned, ...]:
        facts = needs.Facts(self._world.without)
        run = planning.Planning(
            (each,),
            seen.request,
            facts,
            budget.Budget(),
            self._clock,
            self._watcher if describes else None,
            self._exceptions,
            seen.values,
            describes=describes,
        ).run
        return self._answered(run, facts, held)

    def _validate(
        self, policies: Sequence[policy.CompiledPolicy], seen: request.Seen, facts: needs.Facts
    ) -> tuple[results.PolicyResult, ...]:
        evaluation = evaluate.Evaluation(
            policies,
            seen.request,
            facts,
            budget.Budget(),
            self._clock,
            self._watcher,
            self._exceptions,
            seen.values,
        )
        return self._answered(evaluation.run, facts)

    def _answered(self, run: Callable[[], _Found], facts: needs.Facts, held: simulated.Cluster | None = None) -> _Found:
        """What an evaluation comes to, with every need it has on the way answered.

        Args:
            run: The evaluation; called again when a fact has been added.
            facts: Its facts.
            held: The objects it may ask for as such; None for none.
        """
        while True:
            try:
                return run()
            except needs.Needed as lacking:
                match lacking.need:
                    case needs.Object(api_version, kind, namespace, name):
                        found = held.object(api_version, kind, namespace, name) if held else None
                        facts.add(lacking.need, found)
                    case needs.Objects(api_version, kind, namespace, selector):
                        listed = held.objects(api_version, kind, namespace, selector) if held else []
                        facts.add(lacking.need, listed)
                    case need:
                        self._world.tell(need, facts)


class Inspection:
    """What the rules of one policy look at on one object.

    Args:
        stage: The scene; None where there is no object.
        facts: What is known; grows.
        answered: Runs something until none of its needs is left open.

    Attributes:
        stage: As given.
        facts: As given.
    """

    def __init__(
        self, stage: scene.Scene | None, facts: needs.Facts, answered: Callable[[Callable[[], Any], needs.Facts], Any]
    ) -> None:
        self.stage = stage
        self.facts = facts
        self._answered = answered

    def context(self, rule: policy.CompiledRule) -> dict[str, Any]:
        """What the expressions of a rule see, with all entries loaded that can be."""
        if self.stage is None:
            return {}
        below = self.stage.context
        if self.stage.values is not None:
            below = contexts.laid_over(below, self.stage.values(rule))
        found = contexts.nested(below, {}, rule.context, budget.Budget(facts=self.facts))
        for entry in rule.context:
            with contextlib.suppress(errors.EngineError, KeyError):
                self._answered(functools.partial(found.__getitem__, entry.name), self.facts)
        return found


def _runs(
    policies: Iterable[policy.CompiledPolicy], chain: request.Requests
) -> Iterator[tuple[request.Seen, list[policy.CompiledPolicy]]]:
    """Neighbouring policies that see the very same request, so that they are evaluated together."""
    run: list[policy.CompiledPolicy] = []
    seen = None
    for each in policies:
        next_seen = chain.of(each)
        if seen is not None and next_seen is not seen:
            yield seen, run
            run = []
        seen = next_seen
        run.append(each)
    if seen is not None:
        yield seen, run
