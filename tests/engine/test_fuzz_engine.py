"""Random policies against random objects: nothing that users write may break the engine.

A policy compiles or is refused with every problem's place and reason; its evaluation ends within its budget, raises
nothing but the question for a fact, never ends in an internal error, and changes nothing that it was given.

CI looks at a few hundred pairs; `KYMOGRAPH_FUZZ=100000 pytest --timeout=0 tests/engine/test_fuzz_engine.py` looks at as
many as it says. A failure names the seed that draws the pair again.
"""

import copy
import itertools
import os
import random
import time

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from kymograph.engine import budget as budgets
from kymograph.engine import compile as compiler
from kymograph.engine import errors, evaluate, needs
from kymograph.engine.generate import planning
from kymograph.engine.mutate import application
from support import randompolicies

PAIRS = int(os.environ.get("KYMOGRAPH_FUZZ", "800"))
REQUESTS_PER_POLICY = 4
MOST_FACTS = 50
STEPS = 200_000
SECONDS = 10.0
"""Far more than the steps of a budget take; what is slower did work without paying for it."""


def examine(source: random.Random) -> None:
    """Draw a policy and requests, and hold the engine to its promises."""
    maker = randompolicies.Maker(source)
    document = maker.policy()
    written = copy.deepcopy(document)
    policy, problems = compiled(document)
    assert document == written, "compiling changed the policy"
    if policy is None:
        assert problems
        assert all(each.path and each.reason for each in problems), problems
        return
    for _ in range(REQUESTS_PER_POLICY):
        evaluated(policy, maker.request(), maker)


def compiled(document):
    """The policy, or what is wrong with it."""
    try:
        return compiler.compile_policy(document), ()
    except errors.PolicyInvalid as invalid:
        return None, invalid.problems


def evaluated(policy, request, maker):
    before = copy.deepcopy(request)
    for engine, results_of in ENGINES:
        results = results_of(run(engine, policy, request, maker))
        assert request == before, "the evaluation changed the request"
        for each in itertools.chain.from_iterable(result.rules for result in results):
            if each.exception is not None:
                raise each.exception
            assert each.message != evaluate.UNEXPECTED
            assert each.status in {"pass", "fail", "skip", "error", "warn"}
            assert isinstance(each.message, str)
            assert all(isinstance(value, str) for value in each.properties.values())


ENGINES = (
    (evaluate.Evaluation, lambda results: results),
    (application.Mutation, lambda mutated: mutated.results),
    (planning.Planning, lambda planned: [each.result for each in planned]),
)


def run(engine, policy, request, maker):
    """Evaluate a request, answering what is asked."""
    facts = needs.Facts()
    budget = budgets.Budget(steps=STEPS, size=8 * 1024 * 1024)
    evaluation = engine([policy], request, facts, budget, itertools.count().__next__)
    started = time.thread_time()
    for _ in range(MOST_FACTS):
        try:
            found = evaluation.run()
        except needs.Needed as needed:
            answer(facts, needed.need, maker)
        else:
            assert time.thread_time() - started < SECONDS, "the evaluation took too long"
            return found
    return pytest.fail("the evaluation asks without end")


def answer(facts, need, maker):
    match need:
        case needs.NamespaceLabels():
            facts.add(need, {"team": "web"})
        case needs.UserRoles():
            facts.add(need, needs.Roles(("shop:edit",), ("view",)))
        case needs.Now():
            facts.add(need, 1_700_000_000_000_000_000)
        case needs.Seed():
            facts.add(need, bytes(32))
        case needs.HostAddresses():
            facts.add(need, ("10.0.0.1",))
        case needs.ConfigMap(namespace, name):
            facts.add(need, {"metadata": {"name": name, "namespace": namespace}, "data": {"a": "b"}})
        case needs.Object(api_version, kind, namespace, name):
            metadata = {"name": name, "namespace": namespace}
            facts.add(need, {"apiVersion": api_version, "kind": kind, "metadata": metadata, "data": maker.value(1)})
        case needs.APICall() | needs.ServiceCall() | needs.GlobalEntry():
            facts.add(need, maker.value())
        case _:
            facts.fail(need, "not to be had")


@settings(max_examples=PAIRS // REQUESTS_PER_POLICY, deadline=None, phases=[Phase.generate])
@given(st.integers(0, 1 << 64))
def test_nothing_that_users_write_breaks_the_engine(seed):
    examine(random.Random(seed))
