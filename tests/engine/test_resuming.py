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


def loop(name, *maps):
    """A rule that loads ConfigMaps for each element of a list."""
    entries = [{"name": each, "configMap": {"name": each, "namespace": "d"}} for each in maps]
    loaded = "".join(f"{{{{ {each}.data.k }}}}" for each in maps)
    conditions = {"any": [{"key": loaded, "operator": "Equals", "value": "b"}]}
    each = {"list": "[`1`, `2`]", "context": entries, "deny": {"conditions": conditions}}
    return {"name": name, "match": rule(name)["match"], "validate": {"foreach": [each]}}


def test_what_a_loop_loads_is_told_within_its_rule():
    story = Story()
    made, facts = evaluation_of(policy("p", rule("before"), loop("loops", "m")), policy("q", rule("r")), watcher=story)
    finish(made, facts, story)
    of_loop = story.lines[5:-6]
    assert of_loop[:9] == [
        "    RULE loops",
        "      MATCH loops",
        "      matched",
        "      CONTEXT m",
        "        NEED m",
        "...",
        "        ok",
        "      ok",
        "      CONTEXT m",
    ]
    assert of_loop[9:] == ["      ok", "    pass", "  pass"]
    assert story.open == []


def test_policies_whose_rules_only_match_are_told_in_one_entry_each():
    """What is not kept has cost a tuple a policy."""
    told = []

    class Watcher:
        def extend(self, steps):
            told.extend(steps)

    other = {"match": {"any": [{"resources": {"kinds": ["ConfigMap"], "names": ["a*"]}}]}}
    absent = {"match": {"any": [{"resources": {"kinds": ["ConfigMap"], "names": ["b*"]}}]}}
    policies = [
        policy("alike", rule("a"), rule("b")),
        policy("differs", rule("c"), rule("d", **other)),
        policy("passed by", rule("e"), rule("f", **absent)),
    ]
    made, _ = evaluation_of(*policies, watcher=Watcher())
    results = made.run()
    assert [len(step) for step in told] == [watching.POLICY_IN_SHORT, 3, 7, 7, 3, 3, 7, 7, 3]
    (each, outcome, began, decided, ended, rules), *_ = told
    assert (each.name, outcome) == ("alike", "pass")
    assert rules is results[0].rules
    assert began < decided < rules[0].ended == rules[1].started < rules[1].ended == ended

    story = Story()
    story.extend(told)
    assert story.open == []
    assert [line.strip() for line in story.lines if "RULE" in line or "matched" in line] == [
        *["RULE a", "matched", "RULE b", "matched"],
        *["RULE c", "matched", "RULE d", "matched"],
        *["RULE e", "matched", "RULE f", "unmatched"],
    ]


@pytest.mark.parametrize("asks", ["preconditions", "body"])
def test_a_rule_with_preconditions_goes_on_where_it_stopped(asks):
    """Its steps are the same whether the preconditions ask for a fact or what comes after them."""
    now, nothing = "{{ time_now_utc() }}", "a"
    conditions = {"all": [{"key": now if asks == "preconditions" else nothing, "operator": "NotEquals", "value": "b"}]}
    story = Story()
    asking = rule("asks", now if asks == "body" else nothing, preconditions=conditions)
    made, facts = evaluation_of(policy("p", asking, rule("after", preconditions=conditions)), watcher=story)
    results, asked = finish(made, facts, story, answer=lambda need: 10**18)
    assert [each.status for each in results[0].rules] == ["pass", "pass"]
    assert [type(need) for need in asked] == [needs.Now]
    fetched = {
        "preconditions": ["        NEED Now()", "...", "        ok"],
        "body": ["      NEED Now()", "...", "      ok"],
    }
    assert story.lines == [
        "  POLICY p",
        "    RULE asks",
        "      MATCH asks",
        "      matched",
        "      PRECONDITIONS asks",
        *(fetched["preconditions"] if asks == "preconditions" else []),
        "      true",
        *(fetched["body"] if asks == "body" else []),
        "    pass",
        "    RULE after",
        "      MATCH after",
        "      matched",
        "      PRECONDITIONS after",
        "      true",
        "    pass",
        "  pass",
    ]
