"""What a policy says is what the API server does, from the moment it is ready until it is deleted."""

import pytest

from support.installed import NO_PRIVILEGES, eventually, pod, policy

RESOURCES = "kymograph-resource-validation"


def test_a_violation_is_refused_in_the_words_users_know(installed, enforce) -> None:
    """The text is Kyverno's: people and tools read it."""
    enforce(NO_PRIVILEGES)
    denied = installed.create(pod("bad", privileged=True))
    assert denied.returncode == 1
    assert 'admission webhook "fail.validate.kymograph.dev" denied the request' in denied.stderr
    assert "resource Pod/default/bad was blocked due to the following policies" in denied.stderr
    assert (
        "no-privileges:\n  no-privileges-rule: 'validation error: Privileged containers are not allowed."
        " rule no-privileges-rule failed at path /spec/containers/0/securityContext/privileged/'" in denied.stderr
    )
    assert installed.create(pod("fine"), "--dry-run=server").returncode == 0


def test_audit_lets_pass(installed, enforce) -> None:
    """A violation of an Audit policy is counted, not refused."""
    enforce(policy("audited", {"failureAction": "Audit", "message": "no", "deny": {}}))
    assert installed.create(pod("any"), "--dry-run=server").returncode == 0


def test_variables_and_deny_conditions_see_the_request(installed, enforce) -> None:
    """A message may say what was found; a condition may look anywhere in the request."""
    enforce(
        policy(
            "no-latest",
            {
                "message": "{{ request.object.metadata.name }} by {{ request.operation }}: no latest",
                "deny": {
                    "conditions": {
                        "any": [
                            {
                                "key": "{{ request.object.spec.containers[?ends_with(image, ':latest')] | length(@) }}",
                                "operator": "GreaterThan",
                                "value": 0,
                            }
                        ]
                    }
                },
            },
        )
    )
    moving = pod("moving")
    moving["spec"]["containers"][0]["image"] = "registry.example/app:latest"
    assert "moving by CREATE: no latest" in installed.create(moving).stderr
    assert installed.create(pod("fixed"), "--dry-run=server").returncode == 0


def test_selectors_decide_who_is_concerned(installed, enforce) -> None:
    """Labels of the object and of its namespace, names, and what is excluded."""
    installed.make_namespace("strict", level="high")
    match = {
        "all": [
            {"resources": {"kinds": ["Pod"], "namespaceSelector": {"matchLabels": {"level": "high"}}}},
            {"resources": {"kinds": ["Pod"], "names": ["web-*"], "selector": {"matchLabels": {"tier": "?*"}}}},
        ]
    }
    exclude = {"any": [{"resources": {"kinds": ["Pod"], "names": ["web-canary"]}}]}
    enforce(policy("strict", {"message": "no", "deny": {}}, match=match, exclude=exclude))

    def create(name: str, namespace: str, **labels: str) -> int:
        return installed.create(pod(name, namespace=namespace, labels=labels), "--dry-run=server").returncode

    assert create("web-1", "strict", tier="front") == 1
    assert create("web-1", "strict") == 0
    assert create("web-1", "default", tier="front") == 0
    assert create("db-1", "strict", tier="back") == 0
    assert create("web-canary", "strict", tier="front") == 0


def test_a_namespace_made_a_moment_ago_is_known(installed, enforce) -> None:
    """Labels that no informer has seen yet are read from the API server, within the review."""
    match = {"any": [{"resources": {"kinds": ["ConfigMap"], "namespaceSelector": {"matchLabels": {"new": "yes"}}}}]}
    exclude = {"any": [{"resources": {"kinds": ["ConfigMap"], "names": ["kube-root-ca.crt"]}}]}
    enforce(policy("new-namespaces", {"message": "not here", "deny": {}}, match=match, exclude=exclude))
    documents = {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "brandnew", "labels": {"new": "yes"}}},
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "brandnew"}},
        ],
    }
    assert "not here" in installed.create(documents).stderr


def test_a_namespaced_policy_rules_its_namespace_only(installed, enforce) -> None:
    """A Policy is its namespace's own law."""
    installed.make_namespace("lawful")
    enforce(policy("local", {"message": "no", "deny": {}}, kind="Policy", namespace="lawful"))
    assert installed.create(pod("a", namespace="lawful"), "--dry-run=server").returncode == 1
    assert installed.create(pod("a"), "--dry-run=server").returncode == 0


def test_deletions_are_judged_by_the_old_object(installed, enforce) -> None:
    """A policy on DELETE sees what is to be deleted."""
    match = {"any": [{"resources": {"kinds": ["ConfigMap"], "operations": ["DELETE"]}}]}
    condition = {"key": "{{ request.oldObject.metadata.labels.keep || '' }}", "operator": "Equals", "value": "yes"}
    validate = {"message": "it is kept", "deny": {"conditions": {"all": [condition]}}}
    installed.kubectl("create", "configmap", "kept")
    installed.kubectl("label", "configmap", "kept", "keep=yes")
    enforce(policy("keep", validate, match=match))
    assert "it is kept" in installed.kubectl("delete", "configmap", "kept", check=False).stderr
    installed.kubectl("label", "configmap", "kept", "keep-")
    installed.kubectl("delete", "configmap", "kept")


def test_webhooks_are_as_exact_as_the_policies(installed, enforce) -> None:
    """Only the kinds and operations that a policy names are sent to us, never our own namespace."""
    match = {"any": [{"resources": {"kinds": ["ConfigMap"], "operations": ["CREATE"]}}]}
    enforce(policy("config", {"message": "no", "pattern": {"data": {"a": "?*"}}}, match=match))
    enforce(
        {**policy("soft", {"message": "no", "pattern": {"data": {"a": "?*"}}}, match=match, failurePolicy="Ignore")}
    )
    configuration = installed.get("validatingwebhookconfiguration", RESOURCES)
    assert configuration["metadata"]["ownerReferences"][0]["kind"] == "ClusterRole"
    webhooks = {each["name"]: each for each in configuration["webhooks"]}
    assert {name: each["failurePolicy"] for name, each in webhooks.items()} == {
        "fail.validate.kymograph.dev": "Fail",
        "ignore.validate.kymograph.dev": "Ignore",
    }
    for webhook in webhooks.values():
        assert webhook["rules"] == [
            {
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "operations": ["CREATE"],
                "resources": ["configmaps"],
                "scope": "Namespaced",
            }
        ]
        assert webhook["namespaceSelector"]["matchExpressions"] == [
            {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kymograph"]}
        ]


def test_a_webhook_configuration_that_is_deleted_comes_back(installed, enforce) -> None:
    """Nobody switches enforcement off by accident."""
    enforce(NO_PRIVILEGES)
    installed.kubectl("delete", "validatingwebhookconfiguration", RESOURCES)
    eventually(lambda: RESOURCES in installed.webhook_configurations())
    eventually(lambda: installed.create(pod("bad", privileged=True), "--dry-run=server").returncode == 1)


def test_without_policies_nothing_is_registered(installed, enforce) -> None:
    """No policy, no webhook: the operator is not in the way of a cluster that asks nothing of it."""
    enforce(NO_PRIVILEGES)
    assert RESOURCES in installed.webhook_configurations()
    installed.forget_policies()
    assert RESOURCES not in installed.webhook_configurations()


def test_a_changed_policy_counts_at_once(installed, enforce) -> None:
    """The next request after Ready is judged by the new text."""
    enforce(policy("wording", {"message": "first wording", "deny": {}}))
    assert "first wording" in installed.create(pod("any")).stderr
    enforce(policy("wording", {"message": "second wording", "deny": {}}))
    assert "second wording" in installed.create(pod("any")).stderr


@pytest.mark.parametrize("version", ["v1", "v2beta1"])
def test_both_versions_of_a_policy_are_taken(installed, enforce, version: str) -> None:
    """Manifests of either version apply unchanged."""
    document = {**policy("versioned", {"message": "no", "deny": {}}), "apiVersion": f"kyverno.io/{version}"}
    enforce(document)
    assert installed.create(pod("any"), "--dry-run=server").returncode == 1
