"""Which resources are listed for which policies."""

import pytest

from kymograph.clients.kubernetes import discovery
from kymograph.controllers.reports.scans import coverage
from kymograph.engine import compile as compiler
from support.reporting import policy_document, served


def made(*kinds, spec=None, conjunction=False, labels=None, **described):
    """A policy for some kinds."""
    document = policy_document(labels=labels, **described)
    form = "all" if conjunction else "any"
    resources = [{"resources": {"kinds": [kind]}} for kind in kinds]
    document["spec"] = {**document["spec"], **(spec or {})}
    document["spec"]["rules"][0]["match"] = {form: resources}
    return compiler.compile_policy(document)


CATALOGUE = discovery.Catalogue(
    (
        served("", "v1", "pods", "Pod"),
        discovery.Served("", "v1", "pods", "Pod", "ephemeralcontainers", True, frozenset({"get", "patch"})),
        served("", "v1", "namespaces", "Namespace", namespaced=False),
        served("", "v1", "events", "Event"),
        served("apps", "v1", "deployments", "Deployment"),
        served("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
        served("autoscaling", "v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
        served("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", verbs=("create",)),
        served("wgpolicyk8s.io", "v1alpha2", "policyreports", "PolicyReport"),
    )
)


def covered(*policies):
    """Version and name of each resource, with the policies it is scanned for."""
    found = coverage.of(policies, CATALOGUE)
    return {(resource.version, resource.plural): [each.key for each in several] for resource, several in found.items()}


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["Pod"], {("v1", "pods"), ("v1", "deployments")}),  # rewritten for the controllers of Pods
        (["v1/Pod", "Deployment"], {("v1", "pods"), ("v1", "deployments")}),
        (["Pod/exec"], set()),
        (["HorizontalPodAutoscaler"], {("v2", "horizontalpodautoscalers")}),
        (["autoscaling/v1/HorizontalPodAutoscaler"], {("v1", "horizontalpodautoscalers")}),
        (["Event", "PolicyReport", "SubjectAccessReview", "Unknown"], set()),
        (["Name*"], {("v1", "namespaces")}),
    ],
)
def test_kinds_are_listed_in_one_version(kinds, expected) -> None:
    """The preferred one that the policy selects; what cannot be listed, or gets no report, is left out."""
    assert set(covered(made(*kinds))) == expected


def test_all_filters_of_a_conjunction_must_select_a_kind() -> None:
    """`match.all`."""
    assert covered(made("Pod", "Name*", conjunction=True)) == {}
    assert set(covered(made("Pod", "P*", conjunction=True))) == {("v1", "pods")}


def test_namespaced_policies_cover_only_what_is_in_namespaces() -> None:
    """A wildcard of a Policy does not select Namespaces."""
    assert covered(made("Deploy*", "Name*", namespace="shop")) == {("v1", "deployments"): ["shop/p"]}


@pytest.mark.parametrize(
    "policy",
    [
        made("Pod", spec={"background": False}),
        made("Pod", labels={"reports.kyverno.io/disabled": "true"}),
    ],
    ids=["background-false", "disabled"],
)
def test_policies_that_are_not_scanned_for(policy) -> None:
    """By their `background`, or by the label that keeps them out of reports."""
    assert covered(policy) == {}


def test_a_rule_for_updates_only_is_not_scanned_for() -> None:
    """Objects are looked at as if they were created."""
    document = policy_document()
    document["spec"]["rules"][0]["match"] = {"any": [{"resources": {"kinds": ["Pod"], "operations": ["UPDATE"]}}]}
    assert covered(compiler.compile_policy(document)) == {}
