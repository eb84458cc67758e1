"""Policies are asked about every kind of request: connections, subresources, deletions, and dry runs."""

import json

import pytest

from support.installed import eventually, pod, policy

DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "main", "image": "registry.example/app:1"}]},
        },
    },
}


@pytest.fixture
def running(installed):
    """A Pod and a Deployment that are there before any policy, and gone before the next test makes them again."""
    installed.apply(pod("target"))
    installed.apply(DEPLOYMENT)
    yield
    installed.kubectl("delete", "deployment/web", "pod/target", "--ignore-not-found", "--force", "--grace-period=0")


def matching(kinds, *operations):
    return {"any": [{"resources": {"kinds": kinds, **({"operations": list(operations)} if operations else {})}}]}


def test_a_connection_is_refused_before_it_is_made(installed, enforce, running) -> None:
    """`kubectl exec` is a CONNECT of pods/exec; the policy sees who connects to what."""
    enforce(
        policy(
            "no-exec",
            {
                "message": "no exec into {{ request.namespace }}/{{ request.name }}",
                "deny": {
                    "conditions": {
                        "all": [{"key": "{{ request.operation }}", "operator": "Equals", "value": "CONNECT"}]
                    }
                },
            },
            match=matching(["Pod/exec"], "CONNECT"),
            background=False,
        )
    )
    refused = installed.kubectl("exec", "target", "--", "true", check=False)
    assert refused.returncode != 0
    assert "no exec into default/target" in refused.stderr


def test_a_subresource_is_judged_as_what_it_is(installed, enforce, running) -> None:
    """A Scale is not its Deployment: the policy names the subresource and sees the Scale."""
    enforce(
        policy(
            "few",
            {"message": "at most 3", "pattern": {"spec": {"replicas": "<4"}}},
            match=matching(["Deployment/scale"]),
            background=False,
        )
    )
    refused = installed.kubectl("scale", "deployment/web", "--replicas=9", check=False)
    assert refused.returncode != 0
    assert "at most 3" in refused.stderr
    installed.kubectl("scale", "deployment/web", "--replicas=2")


def test_containers_added_later_are_judged_with_the_pod(installed, enforce, running) -> None:
    """`kubectl debug` goes to pods/ephemeralcontainers; a policy about Pods holds there, too."""
    enforce(
        policy(
            "trusted",
            {
                "message": "untrusted image",
                "pattern": {"spec": {"=(ephemeralContainers)": [{"image": "registry.example/*"}]}},
            },
        )
    )
    refused = installed.kubectl("debug", "target", "--image=elsewhere.example/tools", "-c", "debugger", check=False)
    assert refused.returncode != 0
    assert "untrusted image" in refused.stderr
    installed.kubectl("debug", "target", "--image=registry.example/tools", "-c", "allowed")


def test_a_deletion_is_judged_by_what_is_deleted(installed, enforce, running) -> None:
    """`request.object` is the old one there, in patterns of messages as in conditions."""
    key = "{{ request.object.metadata.labels.protected || 'no' }}"
    enforce(
        policy(
            "keep",
            {
                "message": "{{ request.object.metadata.name }} is protected",
                "deny": {"conditions": {"all": [{"key": key, "operator": "Equals", "value": "yes"}]}},
            },
            match=matching(["Pod"], "DELETE"),
            background=False,
        )
    )
    installed.kubectl("label", "pod/target", "protected=yes")
    refused = installed.kubectl("delete", "pod/target", check=False)
    assert refused.returncode != 0
    assert "target is protected" in refused.stderr
    installed.kubectl("label", "pod/target", "protected-")
    installed.kubectl("delete", "pod/target", "--wait=false", "--grace-period=0")


def test_a_dry_run_is_answered_and_leaves_nothing(installed, enforce) -> None:
    """The same verdicts and patches, and no report of an object that never was."""
    enforce(
        policy("warned", {"failureAction": "Audit", "message": "no", "pattern": {"metadata": {"labels": {"a": "?*"}}}})
    )
    mutate = {"patchStrategicMerge": {"metadata": {"annotations": {"seen": "yes"}}}}
    rule = {"name": "mark", "match": matching(["Pod"]), "mutate": mutate}
    metadata = {"name": "mark", "annotations": {"pod-policies.kyverno.io/autogen-controllers": "none"}}
    enforce({"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": metadata, "spec": {"rules": [rule]}})
    answered = installed.create(pod("never"), "--dry-run=server", "-o", "json")
    assert json.loads(answered.stdout)["metadata"]["annotations"]["seen"] == "yes"
    installed.apply(pod("real"))
    try:
        reported = eventually(lambda: "real" in (found := scopes(installed)) and found)
    finally:
        installed.kubectl("delete", "pod", "real", "--force", "--grace-period=0")
    assert "never" not in reported  # what came after the dry run is reported by now


def scopes(installed):
    """The names of the objects that have a report."""
    listed = installed.get("policyreports.wgpolicyk8s.io", "-A")["items"]
    return {each.get("scope", {}).get("name") for each in listed}
