"""What `kymograph apply` is told beside objects and policies: entries, kinds, what counts as an error, bad objects."""

import json

import pytest

from kymograph.apimachinery import yamls

MATCH = {"any": [{"resources": {"kinds": ["ConfigMap"]}}]}


def policy(name="few", **rule):
    spec = {"rules": [{"name": "r", "match": MATCH, **rule}]}
    return {"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": name}, "spec": spec}


def named(kind, name, api_version="v1", **fields):
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "shop"}, **fields}


def entry(name, version="v2", **spec):
    return {
        "apiVersion": f"kyverno.io/{version}",
        "kind": "GlobalContextEntry",
        "metadata": {"name": name},
        "spec": spec,
    }


def counts(reference, limit, jmespath="length(@)"):
    context = [{"name": "count", "globalReference": {"name": reference, "jmesPath": jmespath}}]
    condition = {"key": "{{ count }}", "operator": "GreaterThan", "value": limit}
    return policy(context=context, validate={"message": "{{ count }}", "deny": {"conditions": {"any": [condition]}}})


@pytest.fixture
def given(tmp_path, monkeypatch, run):
    """Apply a policy to objects, written to files."""
    monkeypatch.chdir(tmp_path)

    def go(rule, *objects, flags=()):
        (tmp_path / "policy.yaml").write_text(json.dumps(rule))
        (tmp_path / "objects.yaml").write_text("".join(f"---\n{json.dumps(each)}\n" for each in objects))
        return run("apply", "policy.yaml", "-r", "objects.yaml", *flags)

    return go


SECRETS = {"kubernetesResource": {"version": "v1", "resource": "secrets", "namespace": "shop"}}
OBJECTS = [named("ConfigMap", "trigger"), named("Secret", "a"), named("Secret", "b")]


@pytest.mark.parametrize("version", ["v2", "v2beta1", "v2alpha1"])
@pytest.mark.parametrize(("limit", "status"), [(1, 1), (2, 0)])
def test_global_entries_among_the_objects_hold_those_objects(given, version, limit, status):
    ran = given(counts("secrets", limit), entry("secrets", version, **SECRETS), *OBJECTS)
    assert (ran.status, ran.err) == (status, "")
    assert "to 3 resource(s)" in ran.out


def test_projections_are_computed_from_the_objects(given):
    projections = [{"name": "last", "jmesPath": "[-1].metadata.name"}]
    wanted = counts("secrets.last", 0, "@ == 'b' && `1` || `0`")
    ran = given(wanted, entry("secrets", **SECRETS, projections=projections), *OBJECTS)
    assert "fail: 1, warn: 0, error: 0" in ran.out
    ran = given(counts("secrets.other", 0), entry("secrets", **SECRETS, projections=projections), *OBJECTS)
    assert "error: 1" in ran.out


def test_an_entry_that_calls_holds_nothing(given):
    ran = given(counts("call", 0), entry("call", apiCall={"urlPath": "/version"}), *OBJECTS)
    assert "fail: 0, warn: 0, error: 1, skip: 0" in ran.out


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({}, "objects.yaml:2: spec: must have either kubernetesResource or apiCall"),
        ({"kubernetesResource": {"version": "v1"}}, "spec.kubernetesResource.resource: is required"),
        ({**SECRETS, "projections": [{"name": "a", "jmesPath": "["}]}, "spec.projections[0].jmesPath: "),
        ({**SECRETS, "projections": [{"name": "a", "path": "@"}]}, "unknown field"),
    ],
)
def test_a_wrong_entry_is_an_error_with_its_place(given, spec, problem):
    ran = given(counts("secrets", 0), entry("secrets", **spec), *OBJECTS)
    assert (ran.status, ran.out) == (1, "")
    assert problem in ran.err


def test_kinds_of_given_definitions_may_have_no_namespace(given, tmp_path):
    names = {"kind": "Zone", "plural": "zones"}
    spec = {"group": "example.org", "scope": "Cluster", "names": names}
    definition = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "spec": spec}
    (tmp_path / "crd.yaml").write_text(json.dumps(definition))
    zone = {"apiVersion": "example.org/v1", "kind": "Zone", "metadata": {"name": "a"}}
    rule = policy(validate={"message": "m", "pattern": {"metadata": {"namespace": "?*"}}})
    rule["spec"]["rules"][0]["match"] = {"any": [{"resources": {"kinds": ["Zone"]}}]}
    assert "pass: 1" in given(rule, zone).out
    assert "fail: 1" in given(rule, zone, flags=("--crd-paths", "crd.yaml")).out
    assert given(rule, zone, flags=("--crd-paths", "crd.yaml", "--kubeconfig", "k")).err == (
        "Error: crd-paths and kubeconfig flags are mutually exclusive, please use only one of them\n"
    )


def test_deprecated_ways_are_errors_where_asked(given):
    rule = policy(validate={"message": "m", "pattern": {"data": {"a": "?*"}}})
    assert given(rule, *OBJECTS, flags=("--warnings-as-errors",)).out.endswith("fail: 1, warn: 0, error: 0, skip: 0 \n")
    rule["spec"]["validationFailureAction"] = "audit"
    ran = given(rule, *OBJECTS, flags=("--warnings-as-errors",))
    assert (ran.status, ran.out) == (1, "")
    assert "policy.yaml:1: spec.validationFailureAction is deprecated" in ran.err


def test_who_asks_may_be_said_without_kind_and_version(given, tmp_path):
    (tmp_path / "user.yaml").write_text("userInfo: {username: jo}")
    rule = policy(validate={"message": "{{ request.userInfo.username }}", "deny": {}})
    rule["spec"]["background"] = False
    assert "1 - r jo\n" in given(rule, OBJECTS[0], flags=("--userinfo", "user.yaml")).out


@pytest.mark.parametrize(
    ("flag", "text"), [("-f", "globalValues: {a: b, a: c}"), ("-u", "roles: []\nroles: []"), ("-e", "kind: a\nkind: b")]
)
def test_a_key_set_twice_beside_the_objects_is_an_error(given, tmp_path, flag, text):
    (tmp_path / "twice.yaml").write_text(text)
    ran = given(policy(validate={"message": "m", "deny": {}}), *OBJECTS, flags=(flag, "twice.yaml"))
    assert (ran.status, ran.out) == (1, "")
    assert "already set in map" in ran.err
    assert ran.err.startswith("Error: twice.yaml:")


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ("kind: Pod", "objects.yaml:3: apiVersion: must be text"),
        ("{apiVersion: v1, kind: Pod, metadata: a}", "objects.yaml:3: metadata: must be an object"),
        ("apiVersion: v1\nkind: Pod\nmetadata:\n  name: 5", "objects.yaml:6: metadata.name: must be text"),
        ("kind: List\nitems:\n- 5", "objects.yaml:5: is no Kubernetes object"),
        ("- 5", "objects.yaml:3: is no Kubernetes object"),
    ],
)
def test_what_is_no_object_is_an_error_with_its_place(run, tmp_path, monkeypatch, wrong, problem):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.yaml").write_text(json.dumps(policy(validate={"message": "m", "deny": {}})))
    (tmp_path / "objects.yaml").write_text(f"{json.dumps(OBJECTS[0])}\n---\n{wrong}\n")
    ran = run("apply", "policy.yaml", "-r", "objects.yaml")
    assert ran.status == 1
    assert problem in ran.err


def test_a_rule_whose_source_is_not_among_the_objects_passes_with_a_warning(given):
    """As in Kyverno, which does not say so."""
    generate = {"apiVersion": "v1", "kind": "Secret", "name": "pull", "namespace": "shop"}
    rule = policy("copy", generate={**generate, "clone": {"name": "pull", "namespace": "base"}})
    ran = given(rule, OBJECTS[0])
    assert ran.status == 0
    assert "pass: 1, fail: 0, warn: 0, error: 0" in ran.out
    assert ran.err.startswith("Warning: policy copy -> resource shop/ConfigMap/trigger: r generates nothing: source ")


def test_patched_targets_are_written_beside_their_trigger(given, tmp_path):
    target = {"apiVersion": "v1", "kind": "Secret", "namespace": "shop", "name": "a"}
    rule = policy("touch", mutate={"targets": [target], "patchStrategicMerge": {"data": {"hit": "eQ=="}}})
    assert given(rule, *OBJECTS, flags=("-o", "made")).status == 0
    written = yamls.load_all((tmp_path / "made" / "trigger-mutated.yaml").read_text(), "made")
    assert [(each.value["kind"], each.value.get("data")) for each in written] == [
        ("ConfigMap", None),
        ("Secret", {"hit": "eQ=="}),
    ]


def test_a_policy_without_a_namespace_is_reported_under_its_name(given):
    """It is about the objects in `default`, as it would be in a cluster."""
    rule = {**policy("local", validate={"message": "m", "pattern": {"data": {"a": "?*"}}}), "kind": "Policy"}
    trigger = {**OBJECTS[0], "metadata": {"name": "trigger"}}
    (report,) = yamls.load_all(given(rule, trigger, OBJECTS[0], flags=("--policy-report",)).out, "report")
    assert report.value["kind"] == "ClusterReport"
    assert [(each["policy"], each["result"]) for each in report.value["results"]] == [("local", "fail")]


@pytest.mark.parametrize(("labels", "softened"), [({"tier": "test"}, True), ({"tier": "prod"}, False), ({}, False)])
def test_audit_warn_heeds_overrides_for_namespaces_by_label(given, tmp_path, labels, softened):
    selector = {"matchLabels": {"tier": "test"}}
    overrides = [{"action": "Audit", "namespaceSelector": selector}]
    body = {"message": "m", "pattern": {"data": {"a": "?*"}}}
    rule = policy(validate={**body, "failureAction": "Enforce", "failureActionOverrides": overrides})
    told = {"apiVersion": "cli.kyverno.io/v1alpha1", "kind": "Values"}
    told["namespaceSelector"] = [{"name": "shop", "labels": labels}]
    (tmp_path / "values.yaml").write_text(json.dumps(told))
    ran = given(rule, OBJECTS[0], flags=("--audit-warn", "-f", "values.yaml"))
    assert ("warn: 1" if softened else "fail: 1") in ran.out
