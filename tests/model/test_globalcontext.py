"""GlobalContextEntries and PolicyExceptions as the API server takes and refuses them."""

import json

import pytest

from kymograph.cli import crds
from support import waiting

RESOURCE = {"group": "apps", "version": "v1", "resource": "deployments"}
CALL = {"urlPath": "/api/v1/namespaces"}
EXCEPTED = [{"policyName": "p", "ruleNames": ["*"]}]
MATCH = {"any": [{"resources": {"kinds": ["Pod"]}}]}


@pytest.fixture(scope="module")
def installed(kubectl):
    """The CRDs of this module."""
    rendered, kinds = crds.render(), ("globalcontextentries.kyverno.io", "policyexceptions.kyverno.io")
    for kind in kinds:
        kubectl("apply", "-f", "-", input=rendered[f"{kind}.yaml"])
    for kind in kinds:
        waiting.until(f"{kind} is served", lambda kind=kind: kubectl("get", kind, check=False).returncode == 0)
    return kubectl


def said(kubectl, kind, version, spec):
    """What the API server says to an object; empty if it takes it."""
    document = {"apiVersion": f"kyverno.io/{version}", "kind": kind, "metadata": {"name": "entry"}, "spec": spec}
    done = kubectl(
        "create", "--dry-run=server", "--validate=strict", "-f", "-", input=json.dumps(document), check=False
    )
    return "" if done.returncode == 0 else done.stderr


@pytest.mark.parametrize("version", ["v2", "v2beta1", "v2alpha1"])
@pytest.mark.parametrize(
    "spec",
    [
        {"kubernetesResource": RESOURCE},
        {"kubernetesResource": {"version": "v1", "resource": "configmaps", "namespace": "shop"}},
        {"apiCall": CALL},
        {"apiCall": {**CALL, "refreshInterval": "90s", "retryLimit": 1}},
        {
            "apiCall": {
                "service": {"url": "https://a.example", "caBundle": "x", "headers": [{"key": "a", "value": "b"}]}
            }
        },
        {"apiCall": {**CALL, "method": "POST", "data": [{"key": "a", "value": {"b": [1]}}]}},
        {"kubernetesResource": RESOURCE, "projections": [{"name": "names", "jmesPath": "[].metadata.name"}]},
    ],
)
def test_a_good_entry_is_taken(installed, version, spec) -> None:
    """In every version that Kyverno serves."""
    assert said(installed, "GlobalContextEntry", version, spec) == ""


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({}, '"spec" must validate one and only one schema (oneOf). Found none valid'),
        (
            {"kubernetesResource": RESOURCE, "apiCall": CALL},
            '"spec" must validate one and only one schema (oneOf). Found 2 valid alternatives',
        ),
        ({"kubernetesResource": {"group": "apps", "resource": "a"}}, "spec.kubernetesResource.version: Required value"),
        ({"kubernetesResource": {**RESOURCE, "names": ["a"]}}, 'unknown field "spec.kubernetesResource.names"'),
        ({"apiCall": {**CALL, "method": "PUT"}}, 'supported values: "GET", "POST"'),
        ({"apiCall": {**CALL, "refreshInterval": "soon"}}, "spec.apiCall.refreshInterval"),
        ({"apiCall": {**CALL, "retryLimit": 0}}, "spec.apiCall.retryLimit"),
    ],
)
def test_a_wrong_entry_is_refused_with_its_field(installed, spec, reason) -> None:
    """By its shape, and in no more words than Kyverno's definition has the API server use."""
    refusal = said(installed, "GlobalContextEntry", "v2", spec)
    assert reason in refusal
    assert "validation rules" not in refusal


@pytest.mark.parametrize("version", ["v2", "v2beta1"])
@pytest.mark.parametrize(
    "spec",
    [
        {"exceptions": EXCEPTED, "match": MATCH},
        {
            "exceptions": [{"policyName": "shop/p", "ruleNames": ["a", "autogen-a"]}],
            "match": MATCH,
            "background": False,
        },
        {"exceptions": EXCEPTED, "match": MATCH, "podSecurity": [{"controlName": "Capabilities", "images": ["*"]}]},
        {"exceptions": EXCEPTED, "match": MATCH, "conditions": {"any": [{"key": 1, "operator": "Equals", "value": 1}]}},
    ],
)
def test_a_good_exception_is_taken(installed, version, spec) -> None:
    """In both versions."""
    assert said(installed, "PolicyException", version, spec) == ""


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"match": MATCH}, "spec.exceptions"),
        ({"exceptions": EXCEPTED}, "spec.match"),
        ({"exceptions": [{"ruleNames": ["a"]}], "match": MATCH}, "spec.exceptions[0].policyName"),
        ({"exceptions": [{"policyName": "p"}], "match": MATCH}, "spec.exceptions[0].ruleNames"),
        ({"exceptions": EXCEPTED, "match": MATCH, "background": "no"}, "spec.background"),
        (
            {"exceptions": EXCEPTED, "match": MATCH, "podSecurity": [{"images": ["*"]}]},
            "spec.podSecurity[0].controlName",
        ),
    ],
)
def test_a_wrong_exception_is_refused_with_its_field(installed, spec, field) -> None:
    """What the API server can see of it."""
    assert field in said(installed, "PolicyException", "v2", spec)


def test_a_field_that_would_narrow_an_exception_is_never_dropped_silently(installed) -> None:
    """Pruned, it would leave an exception for more objects than meant; kept, the engine refuses it by name."""
    spec = {"exceptions": EXCEPTED, "match": {"any": [{"resources": {"kinds": ["Pod"], "namespace": ["shop"]}}]}}
    document = {"apiVersion": "kyverno.io/v2", "kind": "PolicyException", "metadata": {"name": "typo"}, "spec": spec}
    made = installed(
        "create", "--dry-run=server", "--validate=ignore", "-o", "json", "-f", "-", input=json.dumps(document)
    )
    assert json.loads(made.stdout)["spec"] == spec
