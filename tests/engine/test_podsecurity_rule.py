"""Rules with `validate.podSecurity`: their messages, what they report, and what is wrong with them."""

import itertools

import orjson
import pytest

from kymograph.engine import budget as budgets
from kymograph.engine import compile as compiler
from kymograph.engine import errors, evaluate, exceptions, fields, needs
from kymograph.engine.podsecurity import exclusions
from kymograph.engine.rules import podsecurity

DIGEST = f"sha256:{'a' * 64}"


def body(document):
    problems = fields.Problems()
    made = podsecurity.PodSecurity(document, "psa", "spec.rules[0].validate.podSecurity", problems)
    problems.raise_if_any()
    return made


def check(document, resource, *excepted):
    return body(document).check_except(resource, excepted, "team/one, team/two", budgets.Budget())


def excluded(*entries):
    problems = fields.Problems()
    read = exclusions.read([(each, "podSecurity[0]") for each in entries], problems)
    problems.raise_if_any()
    return read


def pod(**security):
    containers = [{"name": "app", "image": "nginx", "securityContext": security}]
    return {"kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": containers}}


def test_a_pod_that_keeps_to_the_standard_passes():
    found = check({"level": "baseline", "version": "latest"}, pod())
    assert found == ("pass", "Validation rule 'psa' passed.", None)


def test_a_violation_names_standard_reason_and_fields():
    found = check({"level": "baseline", "version": "v1.29"}, pod(privileged=True))
    assert found.status == "fail"
    assert found.message == (
        "Validation rule 'psa' failed. It violates PodSecurity \"baseline:v1.29\": (Forbidden reason: privileged, "
        "field error list: [spec.containers[0].securityContext.privileged is forbidden, "
        "forbidden values found: true])"
    )


def test_reports_tell_the_standard_and_the_controls_with_images():
    resource = pod(privileged=True, runAsNonRoot=True, allowPrivilegeEscalation=False, capabilities={"drop": ["ALL"]})
    resource["spec"]["hostNetwork"] = True
    resource["spec"]["initContainers"] = [{"name": "init", "image": f"ghcr.io/org/app@{DIGEST}"}]
    resource["spec"]["containers"].append({"name": "bad", "image": "not an image"})
    properties = check({"level": "restricted", "version": "latest"}, resource).properties
    assert properties["standard"] == "restricted"
    assert properties["version"] == "latest"
    controls = orjson.loads(properties["controlsJSON"])
    assert properties["controls"] == ",".join(each["ID"] for each in controls)
    by_id = {each["ID"]: each for each in controls}
    assert by_id["allowPrivilegeEscalation"] == {
        "ID": "allowPrivilegeEscalation",
        "Name": "Privilege Escalation",
        "Images": [f"ghcr.io/org/app@{DIGEST}", "bad"],
    }
    assert by_id["privileged"] == {
        "ID": "privileged",
        "Name": "Privileged Containers",
        "Images": ["docker.io/nginx:latest"],
    }
    assert by_id["hostNamespaces"]["Images"] is None


def test_exclusions_of_the_policy_let_a_pod_pass():
    document = {"level": "baseline", "exclude": [{"controlName": "Privileged Containers", "images": ["nginx"]}]}
    assert check(document, pod(privileged=True)).status == "pass"


def test_exclusions_of_exceptions_skip_the_rule_where_nothing_is_left():
    control = {"controlName": "Privileged Containers", "images": ["nginx"]}
    found = check({"level": "baseline"}, pod(privileged=True), *excluded(control))
    assert found == ("skip", "rule is skipped due to policy exceptions team/one, team/two", None)
    found = check({"level": "baseline"}, pod(privileged=True, procMount="Unmasked"), *excluded(control))
    assert found.status == "fail"
    assert found.properties["controls"] == "procMount"


def test_exceptions_do_not_matter_to_a_pod_that_passes():
    control = {"controlName": "Privileged Containers", "images": ["nginx"]}
    assert check({"level": "baseline"}, pod(), *excluded(control)).status == "pass"


@pytest.mark.parametrize(
    ("resource", "reason"),
    [
        ({"kind": "Service"}, "could not find correct resource type"),
        (pod(privileged="yes"), "spec.containers[0].securityContext.privileged must be true or false"),
        ({"kind": "Pod", "spec": {"containers": "app"}}, "spec.containers must be a list"),
        ({"kind": "Pod", "spec": {"containers": [{"image": 5}]}}, "spec.containers[0].image must be a string"),
        ({"kind": "Pod", "spec": {"containers": [{"args": [1]}]}}, "spec.containers[0].args[0] must be a string"),
        ({"kind": "Pod", "spec": {"priority": 1.5}}, "spec.priority must be a whole number"),
        ({"kind": "Pod", "spec": {"priority": True}}, "spec.priority must be a whole number"),
        ({"kind": "Pod", "spec": {"volumes": [{"emptyDir": 1}]}}, "spec.volumes[0].emptyDir must be an object"),
        ({"kind": "Pod", "metadata": {"labels": {"a": 5}}, "spec": {}}, "metadata.labels.a must be a string"),
        ({"kind": "Job", "spec": {"template": {"spec": {"hostPID": "no"}}}}, "spec.hostPID must be true or false"),
    ],
)
def test_an_object_that_cannot_be_judged_is_an_error(resource, reason):
    found = check({"level": "restricted"}, resource)
    assert found == ("error", f"Error while getting new resource: {reason}", None)


def test_what_is_null_or_unknown_has_any_type():
    spec = {"containers": None, "priority": 1.0, "securityContext": {"runAsUser": None}, "later": 5}
    assert check({"level": "baseline"}, {"kind": "Pod", "metadata": None, "spec": spec}).status == "pass"


def test_an_exhausted_budget_is_not_swallowed():
    with pytest.raises(errors.BudgetExhausted):
        body({"level": "baseline"}).check(pod(), {}, budgets.Budget(steps=0))


@pytest.mark.parametrize(
    ("document", "path", "reason"),
    [
        ({}, "level", "one of privileged, baseline, restricted must be specified"),
        ({"level": "strict"}, "level", "'strict' is not one of privileged, baseline, restricted"),
        ({"level": "baseline", "version": "1.29"}, "version", 'must be "latest" or "v1.x"'),
        ({"level": "baseline", "exclude": {}}, "exclude", "must be a list, not an object"),
        ({"level": "baseline", "excludes": []}, "excludes", "unknown field; did you mean 'exclude'?"),
        (
            {"level": "baseline", "exclude": [{"controlName": "Privilege Escalation", "images": ["*"]}]},
            "exclude[0].controlName",
            "Invalid control name defined at the given level",
        ),
    ],
)
def test_mistakes_are_named_with_their_place(document, path, reason):
    with pytest.raises(errors.PolicyInvalid) as caught:
        body(document)
    (problem,) = caught.value.problems
    assert problem.path == f"spec.rules[0].validate.podSecurity.{path}"
    assert problem.reason == reason


def policy(document):
    rule = {
        "name": "psa",
        "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
        "validate": {"message": "not shown", "podSecurity": document},
    }
    return compiler.compile_policy(
        {
            "apiVersion": "kyverno.io/v1",
            "kind": "ClusterPolicy",
            "metadata": {"name": "standards"},
            "spec": {"rules": [rule]},
        }
    )


def evaluated(document, resource, *excepting, operation="CREATE"):
    group, _, version = resource.get("apiVersion", "v1").rpartition("/")
    request = {
        "kind": {"group": group, "version": version, "kind": resource["kind"]},
        "resource": {"group": group, "version": version, "resource": resource["kind"].lower() + "s"},
        "namespace": "shop",
        "operation": operation,
        "object": None if operation == "DELETE" else resource,
        "oldObject": resource if operation == "DELETE" else None,
    }
    found = evaluate.evaluate(
        [policy(document)],
        request,
        needs.Facts(),
        budgets.Budget(),
        itertools.count().__next__,
        exceptions=exceptions.Exceptions(excepting),
    )
    return [rule for result in found for rule in result.rules]


def exception(*controls):
    return exceptions.compile_exception(
        {
            "apiVersion": "kyverno.io/v2",
            "kind": "PolicyException",
            "metadata": {"name": "one", "namespace": "team"},
            "spec": {
                "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
                "exceptions": [{"policyName": "standards", "ruleNames": ["psa"]}],
                "podSecurity": list(controls),
            },
        }
    )


def test_a_rule_for_pods_is_rewritten_for_their_controllers():
    resource = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"template": pod(privileged=True)},
    }
    (found,) = evaluated({"level": "baseline", "version": "latest"}, resource)
    assert found.rule.name == "autogen-psa"
    assert found.message == (
        "Validation rule 'autogen-psa' failed. It violates PodSecurity \"baseline:latest\": (Forbidden reason: "
        "privileged, field error list: [spec.template.spec.containers[0].securityContext.privileged is forbidden, "
        "forbidden values found: true])"
    )
    assert found.properties["controls"] == "privileged"


def test_a_deletion_is_not_judged():
    assert evaluated({"level": "baseline"}, pod(privileged=True), operation="DELETE") == []


def test_an_exception_for_controls_takes_only_these_out():
    control = {"controlName": "Privileged Containers", "images": ["*"]}
    (found,) = evaluated({"level": "baseline"}, pod(privileged=True), exception(control))
    assert (found.status, found.message) == ("skip", "rule is skipped due to policy exceptions team/one")
    (found,) = evaluated({"level": "baseline"}, pod(privileged=True, procMount="Unmasked"), exception(control))
    assert (found.status, found.properties["controls"]) == ("fail", "procMount")


def test_an_exception_without_controls_takes_the_rule_out():
    (found,) = evaluated({"level": "baseline"}, pod(privileged=True), exception())
    assert (found.status, found.message) == ("skip", "rule is skipped due to policy exception team/one")
