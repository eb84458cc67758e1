"""An evaluation that lacks a fact goes on where it stopped: nothing is evaluated, or told, a second time."""

import itertools

import pytest

from kymograph.engine import budget as budgets
from kymograph.engine import compile as compiler
from kymograph.engine import evaluate, needs, watching

REQUEST = {
    "kind": {"group": "", "version": "v1", "kind": "ConfigMap"},
    "operation": "CREATE",
    "namespace": "d",
    "object": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "d"}},
}


def rule(name, value="", **more):
    conditions = {"any": [{"key": value or "a", "operator": "Equals", "value": "b"}]}
    return {
        "name": name,
        "match": {"any": [{"resources": {"kinds": ["ConfigMap"]}}]},
        "validate": {"deny": {"conditions": conditions}},
        **more,
    }


def reading(name, *maps):
    entries = [{"name": each, "configMap": {"name": each, "namespace": "d"}} for each in maps]
    return rule(name, "".join(f"{{{{ {each}.data.k }}}}" for each in maps), context=entries)


def policy(name, *rules):
    return compiler.compile_policy(
        {
            "apiVersion": "kyverno.io/v1",
            "kind": "ClusterPolicy",
            "metadata": {"name": name},
            "spec": {"background": False, "rules": list(rules)},
        }
    )


class Story:
    """Writes down what it is told, and what somebody else does meanwhile."""

    def __init__(self) -> None:
        self.lines = []
        self.open = []

    def extend(self, steps):
        for head, body, _ in watching.written_out(steps):
            if isinstance(head, str):
                self.lines.append(f"{'  ' * len(self.open)}{head}")
                self.open.pop()
            else:
                self.open.append(head)
                self.lines.append(f"{'  ' * len(self.open)}{head.name} {getattr(body, 'name', body)}")


def finish(evaluation, facts, story=None, answer=lambda need: {"data": {"k": "x"}}):
    asked = []
    while True:
        try:
            return evaluation.run(), asked
        except needs.Needed as lacking:
            asked.append(lacking.need)
            if story is not None:
                story.lines.append("...")
            facts.add(lacking.need, answer(lacking.need))


def evaluation_of(*policies, watcher=None, **limits):
    facts = needs.Facts()
    made = evaluate.Evaluation(policies, REQUEST, facts, budgets.Budget(**limits), itertools.count().__next__, watcher)
    return made, facts


def test_steps_are_told_once_and_the_fetch_has_its_place_among_them():
    story = Story()
    made, facts = evaluation_of(
        policy("p", rule("plain"), reading("reads", "m")), policy("q", rule("r")), watcher=story
    )
    finish(made, facts, story)
    assert story.lines == [
        "  POLICY p",
        "    RULE plain",
        "      MATCH plain",
        "      matched",
        "    pass",
        "    RULE reads",
        "      MATCH reads",
        "      matched",
        "      CONTEXT m",
        "        NEED m",
        "...",
        "        ok",
        "      ok",
        "    pass",
        "  pass",
        "  POLICY q",
        "    RULE r",
        "      MATCH r",
        "      matched",
        "    pass",
        "  pass",
    ]


def test_results_are_the_same_however_often_it_stops():
    policies = (policy("p", rule("a"), reading("b", "m", "n"), reading("c", "n", "o")), policy("q", reading("d", "m")))
    plain, facts = evaluation_of(*policies)
    results, asked = finish(plain, facts)
    assert [need.name for need in asked] == ["m", "n", "o"]
    watched, facts = evaluation_of(*policies, watcher=Story())
    again, _ = finish(watched, facts)
    assert [rule[:3] for each in again for rule in each.rules] == [rule[:3] for each in results for rule in each.rules]
    assert [rule.rule.name for each in results for rule in each.rules] == ["a", "b", "c", "d"]


def test_policies_that_are_done_are_not_evaluated_again():
    first = policy("p", rule("a"))
    counted = []
    body = first.rules[0].body

    class Counting:
        looks_at_deleted = True

        def check(self, *given):
            counted.append(1)
            return body.check(*given)

    object.__setattr__(first.rules[0], "body", Counting())
    made, facts = evaluation_of(first, policy("q", reading("b", "m", "n")))
    finish(made, facts)
    assert counted == [1]


@pytest.mark.parametrize("steps", range(1, 60))
def test_steps_stay_nested_where_the_budget_ends_on_the_second_way(steps):
    story = Story()
    made, facts = evaluation_of(policy("p", rule("a"), reading("b", "m", "n")), watcher=story, steps=steps)
    finish(made, facts, story)
    assert story.open == []


def test_a_fact_that_an_expression_asks_for_in_a_plain_rule_stops_it_too():
    story = Story()
    made, facts = evaluation_of(policy("p", rule("now", "{{ time_now_utc() }}")), watcher=story)
    results, asked = finish(made, facts, story, answer=lambda need: 10**18)
    assert [type(need) for need in asked] == [needs.Now]
    assert results[0].rules[0].status == "pass"
    assert story.lines == [
        "  POLICY p",
        "    RULE now",
        "      MATCH now",
        "      matched",
        "      NEED Now()",
        "...",
        "      ok",
        "    pass",
        "  pass",
    ]
