"""PolicyExceptions: which rules they are about, which objects, and what becomes of a rule then."""

import pytest

from kymograph.engine import budget as budgets
from kymograph.engine import compile as compiler
from kymograph.engine import errors, evaluate, exceptions, needs, watching

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "tool-1", "namespace": "d", "labels": {"app": "tool"}},
    "spec": {"containers": [{"name": "c", "image": "nginx", "securityContext": {"privileged": True}}]},
}
DENY = {"message": "no", "deny": {}}
MATCH = {"any": [{"resources": {"kinds": ["Pod"], "names": ["tool*"]}}]}


ANN = {"any": [{"resources": {"kinds": ["Pod"]}, "subjects": [{"kind": "User", "name": "ann"}]}]}


def app(value, path="request.object.metadata.labels.app"):
    return {"any": [{"key": f"{{{{ {path} }}}}", "operator": "Equals", "value": value}]}


def exception(name="x", rules=("r",), policy="p", **spec):
    spec = {"match": MATCH, "exceptions": [{"policyName": policy, "ruleNames": list(rules)}], **spec}
    return {
        "apiVersion": "kyverno.io/v2",
        "kind": "PolicyException",
        "metadata": {"name": name, "namespace": "ns"},
        "spec": spec,
    }


def evaluation(
    *documents,
    validate=DENY,
    resource=POD,
    operation="CREATE",
    user=None,
    facts=None,
    old=None,
    watcher=None,
    **rule,
):
    policy = compiler.compile_policy(
        {
            "apiVersion": "kyverno.io/v1",
            "kind": "ClusterPolicy",
            "metadata": {"name": "p"},
            "spec": {
                "background": False,
                "validationFailureAction": "Enforce",
                "rules": [
                    {"name": "r", "match": {"any": [{"resources": {"kinds": ["Pod"]}}]}, "validate": validate, **rule}
                ],
            },
        }
    )
    found = exceptions.Exceptions(exceptions.compile_exception(each) for each in documents)
    request = {
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "operation": operation,
        "namespace": "d",
        "object": resource,
        "oldObject": old,
        **({"userInfo": user} if user else {}),
    }
    clock = iter(range(10_000)).__next__
    known = needs.Facts() if facts is None else facts
    return evaluate.Evaluation((policy,), request, known, budgets.Budget(), clock, watcher, found)


def run(*documents, **given):
    (result,) = (rule for each in evaluation(*documents, **given).run() for rule in each.rules)
    return result.status, result.message, dict(result.properties)


SKIPPED = ("skip", "rule is skipped due to policy exceptionsns/x", {"exceptions": "x"})
FAILED = ("fail", "no", {})


@pytest.mark.parametrize(
    ("document", "found"),
    [
        (exception(), SKIPPED),
        (exception(rules=["*"]), SKIPPED),
        (exception(rules=["other", "r?"]), FAILED),
        (exception(rules=[]), FAILED),
        (exception(policy="q"), FAILED),
        (exception(policy="ns/p"), FAILED),
        (exception(match={"any": [{"resources": {"kinds": ["Pod"], "names": ["web*"]}}]}), FAILED),
        (exception(match={"all": [{"resources": {"kinds": ["Pod"]}}, {"resources": {"kinds": ["Job"]}}]}), FAILED),
        (exception(match={"any": [{"resources": {"kinds": ["Pod"], "operations": ["DELETE"]}}]}), SKIPPED),
        (
            exception(
                background=False,
                match={"any": [{"resources": {"kinds": ["Pod"]}, "subjects": [{"kind": "User", "name": "ann"}]}]},
            ),
            FAILED,
        ),
        (exception(conditions=app("tool")), SKIPPED),
        (exception(conditions=app("web")), FAILED),
        (exception(conditions=app("tool", "request.object.nosuch")), FAILED),
    ],
)
def test_a_rule_is_skipped_where_an_exception_is_about_it_and_its_object(document, found):
    assert run(document) == found


def test_user_info_counts_where_there_is_a_user():
    match = {"any": [{"resources": {"kinds": ["Pod"]}, "subjects": [{"kind": "User", "name": "ann"}]}]}
    document = exception(background=False, match=match)
    assert run(document, user={"username": "ann"}) == SKIPPED
    assert run(document, user={"username": "bob"}) == FAILED


def test_labels_of_the_namespace_are_asked_for_when_an_exception_looks_at_them():
    selector = {"matchLabels": {"team": "a"}}
    document = exception(match={"any": [{"resources": {"kinds": ["Pod"], "namespaceSelector": selector}}]})
    with pytest.raises(needs.Needed) as lacking:
        run(document)
    assert lacking.value.need == needs.NamespaceLabels("d")
    facts = needs.Facts()
    facts.add(lacking.value.need, {"team": "a"})
    assert run(document, facts=facts) == SKIPPED


def test_several_exceptions_are_all_named():
    assert run(exception("y"), exception("x")) == (
        "skip",
        "rule is skipped due to policy exceptionsns/x, ns/y",
        {"exceptions": "x,y"},
    )


def test_conditions_see_the_context_of_the_rule():
    conditions = {"all": [{"key": "{{ team }}", "operator": "Equals", "value": "a"}]}
    document = exception(conditions=conditions)
    assert run(document, context=[{"name": "team", "variable": {"value": "a"}}]) == SKIPPED
    assert run(document, context=[{"name": "team", "variable": {"value": "b"}}]) == FAILED


def test_preconditions_come_before_exceptions():
    unmet = {"all": [{"key": "a", "operator": "Equals", "value": "b"}]}
    assert run(exception(), preconditions=unmet) == ("skip", "preconditions not met", {})


def test_an_old_object_is_judged_without_exceptions():
    """A violation that an exception no longer covers existed before, and is let be."""
    old = {**POD, "metadata": {**POD["metadata"], "name": "tool-0"}}
    new = {**POD, "metadata": {**POD["metadata"], "name": "web"}}
    assert run(exception(), resource=new, operation="UPDATE", old=old)[:2] == ("skip", evaluate.EXISTING)


CONTROL = {"controlName": "Privileged Containers", "images": ["*"]}
POD_SECURITY = {"podSecurity": {"level": "baseline", "version": "latest"}}


@pytest.mark.parametrize(
    ("documents", "status", "message", "named"),
    [
        ([], "fail", "Validation rule 'r' failed.", None),
        ([exception()], "skip", "rule is skipped due to policy exception ns/x", "x"),
        ([exception(podSecurity=[CONTROL])], "skip", "rule is skipped due to policy exceptions ns/x", "x"),
        (
            [exception(podSecurity=[{"controlName": "Host Namespaces"}])],
            "fail",
            "Validation rule 'r' failed.",
            None,
        ),
        (
            [exception("a", podSecurity=[CONTROL]), exception("b")],
            "skip",
            "rule is skipped due to policy exception ns/b",
            "b",
        ),
    ],
)
def test_exceptions_may_take_controls_out_of_pod_security(documents, status, message, named):
    found = run(*documents, validate=POD_SECURITY)
    assert (found[0], found[1][: len(message)]) == (status, message)
    assert found[2].get("exceptions") == named


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({**exception(), "apiVersion": "kyverno.io/v1"}, "apiVersion: must be kyverno.io/v2 or kyverno.io/v2beta1"),
        (exception(exceptions=[]), "spec.exceptions: an exception names the policies and rules"),
        (exception(exceptions=[{"ruleNames": ["r"]}]), "spec.exceptions[0].policyName: An exception requires a policy"),
        (exception(match={}), "spec.match: at least one resource filter must be specified"),
        (exception(match={"any": [{}], "all": [{}]}), "spec.match: Can't specify any and all together"),
        (exception(match=ANN), "spec.match.any[0].subjects: Usage of user info is forbidden"),
        (exception(conditions={"any": [{"key": "a", "operator": "Is", "value": "b"}]}), "spec.conditions.any[0].oper"),
        (exception(podSecurity=[{"controlName": "Nosuch"}]), "spec.podSecurity[0].controlName"),
        (exception(backgroud=True), "spec.backgroud: unknown field; did you mean 'background'?"),
    ],
)
def test_an_exception_that_cannot_be_meant_is_refused(document, reason):
    with pytest.raises(errors.PolicyInvalid) as invalid:
        exceptions.compile_exception(document)
    assert reason in str(invalid.value)


@pytest.mark.parametrize(
    ("control", "images", "reason"),
    [
        ("Privileged Containers", [], "exclude.images must be specified for the container level control"),
        ("Host Namespaces", ["*"], "exclude.images must not be specified for the pod level control"),
        ("Privileged Containers", ["*"], ""),
        ("Host Namespaces", [], ""),
        ("Seccomp", [], ""),
        ("Seccomp", ["*"], ""),
    ],
)
def test_controls_of_containers_name_images_where_an_exception_is_written_to_a_cluster(control, images, reason):
    """In Kyverno's words; from a file it is taken as it is, as by Kyverno's command line."""
    document = exception(podSecurity=[{"controlName": control, **({"images": images} if images else {})}])
    exceptions.compile_exception(document)
    if not reason:
        exceptions.check(document)
        return
    with pytest.raises(errors.PolicyInvalid) as invalid:
        exceptions.check(document)
    assert str(invalid.value) == f"spec.podSecurity[0].controlName: {reason}"


class Watcher:
    """Writes down the steps of an evaluation."""

    def __init__(self):
        self.steps = []

    def extend(self, steps):
        self.steps += [(head, getattr(body, "name", "")) for head, body, _ in watching.written_out(steps)]


@pytest.mark.parametrize("excuses", [True, False])
def test_a_watcher_is_told_of_exceptions_that_name_the_rule(excuses):
    """Whether they are about the object; what their conditions lack is asked for within the step, told once."""
    condition = {"key": "{{ ours.data.team }}", "operator": "Equals", "value": "shop" if excuses else "bank"}
    watcher, facts = Watcher(), needs.Facts()
    ours = {"name": "ours", "configMap": {"name": "ours", "namespace": "ns"}}
    given = exception("spared", conditions={"all": [condition]})
    work = evaluation(given, exception("other", rules=("q",)), facts=facts, watcher=watcher, context=[ours])
    with pytest.raises(needs.Needed) as lacking:
        work.run()
    facts.add(lacking.value.need, {"metadata": {}, "data": {"team": "shop"}})
    work.run()
    step = watching.Step
    begun = watcher.steps.index((step.EXCEPTION, "spared"))
    expected = [step.CONTEXT, step.NEED, "ok", "ok", "applied" if excuses else "unmatched"]
    assert [head for head, _ in watcher.steps[begun + 1 :]][: len(expected)] == expected
    assert [head for head, _ in watcher.steps].count(step.EXCEPTION) == 1
