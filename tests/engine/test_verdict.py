"""From results to the answer."""

import pytest

from kymograph.engine import budget as budgets
from kymograph.engine import compile as compiler
from kymograph.engine import evaluate, needs, verdict
from kymograph.engine import mutate as mutations

POD = {"metadata": {"name": "web", "namespace": "shop"}, "spec": {}}


def policy(name="p", message="no", key="a", action=None, **spec):
    """A policy that denies everything, or whose rule is an error if the key names what is missing."""
    conditions = {"any": [{"key": key, "operator": "Equals", "value": "a"}]}
    validate = {"message": message, "deny": {"conditions": conditions}}
    if action:
        validate["failureAction"] = action
    match = {"any": [{"resources": {"kinds": ["Pod"]}}]}
    return compiler.compile_policy(
        {
            "apiVersion": "kyverno.io/v1",
            "kind": "ClusterPolicy",
            "metadata": {"name": name},
            "spec": {"rules": [{"name": "r", "match": match, "validate": validate}], **spec},
        }
    )


MISSING = "{{ request.object.spec.nosuch }}"
ENFORCE = {"validationFailureAction": "Enforce"}


def judge(*policies, made=POD, old=None):
    request = {
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "namespace": "shop",
        "operation": "CREATE" if made else "DELETE",
        "object": made,
        "oldObject": old,
    }
    results = evaluate.evaluate(policies, request, needs.Facts(), budgets.Budget(), lambda: 0)
    return verdict.of(results, request)


@pytest.mark.parametrize(
    ("made", "blocked"),
    [
        (policy(), False),
        (policy(**ENFORCE), True),
        (policy(action="Enforce"), True),
        (policy(action="Audit", **ENFORCE), False),
        (policy(key=MISSING), False),
        (policy(key=MISSING, **ENFORCE), True),
        (policy(key=MISSING, **ENFORCE, failurePolicy="Ignore"), False),
        (policy(key="b", **ENFORCE), False),
    ],
)
def test_a_failure_blocks_under_enforce_and_an_error_under_fail(made, blocked):
    assert judge(made).blocked is blocked


def test_a_denial_lists_policies_and_rules_as_yaml():
    found = judge(
        policy("b", "refused", **ENFORCE), policy("a", "a: b", action="Enforce"), policy("audited", emitWarning=True)
    )
    assert found.message == (
        "\n\nresource Pod/shop/web was blocked due to the following policies \n\na:\n  r: 'a: b'\nb:\n  r: refused\n"
    )
    assert found.warnings == ()


def test_messages_are_never_folded_and_lines_are_kept():
    long = "word " * 60 + "end"
    assert f"  r: {long}\n" in judge(policy(message=long, **ENFORCE)).message
    assert "  r: |-\n    one\n    two\n" in judge(policy(message="one\ntwo", **ENFORCE)).message


def test_policies_are_listed_in_natural_order():
    names = [f"p-{number}" for number in (10, 9, 1)]
    text = judge(*(policy(name, **ENFORCE) for name in names)).message
    assert [line[:-1] for line in text.splitlines() if line.startswith("p-")] == ["p-1", "p-9", "p-10"]


def test_the_old_object_names_a_deletion():
    assert judge(policy(**ENFORCE), made=None, old=POD).message.startswith("\n\nresource Pod/shop/web was blocked")


def test_an_object_without_a_name_is_named_by_kind_and_namespace():
    text = judge(policy(**ENFORCE), made={"metadata": {"generateName": "web-"}, "spec": {}}).message
    assert text.startswith("\n\nresource Pod/shop/ was blocked")


@pytest.mark.parametrize(
    ("made", "warnings"),
    [
        (policy(), ()),
        (policy(emitWarning=True), ("policy p.r: no",)),
        (policy(action="Audit", **ENFORCE), ("policy p.r: no",)),
        (policy(key="b", emitWarning=True), ()),
    ],
)
def test_an_allowed_request_warns_where_asked_or_where_it_could_have_been_blocked(made, warnings):
    assert judge(made).warnings == warnings


def test_nothing_wrong_is_nothing_said():
    assert judge() == verdict.Verdict(blocked=False, message="", warnings=())


def mutate(*policies):
    request = {
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "namespace": "shop",
        "operation": "CREATE",
        "object": {"apiVersion": "v1", "kind": "Pod", **POD},
    }
    mutated = mutations.apply(policies, request, needs.Facts(), budgets.Budget(), lambda: 0)
    return verdict.of_mutations(mutated.results)


def changing(name, value="x", **spec):
    """A policy that sets a label."""
    match = {"any": [{"resources": {"kinds": ["Pod"]}}]}
    patch = {"patchStrategicMerge": {"metadata": {"labels": {"a": value}}}}
    return compiler.compile_policy(
        {
            "apiVersion": "kyverno.io/v1",
            "kind": "ClusterPolicy",
            "metadata": {"name": name},
            "spec": {"rules": [{"name": "r", "match": match, "mutate": patch}], **spec},
        }
    )


def test_a_change_that_cannot_be_made_denies_under_fail_and_warns_under_ignore() -> None:
    """The text names policy and rule, as Kyverno's does."""
    denied = mutate(changing("good"), changing("bad", MISSING))
    assert denied.blocked
    assert denied.message.startswith("mutation policy bad error: failed to apply policy bad rules [r: ")
    allowed = mutate(changing("bad", MISSING, failurePolicy="Ignore"))
    assert not allowed.blocked
    assert allowed.warnings[0].startswith("policy bad.r: ")


def test_a_policy_that_warns_tells_what_it_changed() -> None:
    """But not where it had nothing to change."""
    quiet, loud = changing("quiet"), changing("loud", emitWarning=True)
    assert mutate(quiet) is verdict.ALLOWED
    assert mutate(loud).warnings == ("policy loud.r: mutated Pod/web in namespace shop",)
    assert mutate(quiet, loud).warnings == ()
