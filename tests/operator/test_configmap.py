"""The ConfigMap `kyverno` on real servers: who and what is let pass, live, and what a mistake in it costs."""

import pytest

from support.installed import NO_PRIVILEGES, eventually, pod, policy

AS = ("--as-group=system:masters", "--dry-run=server")
NAMES = {"name": "kyverno", "namespace": "kymograph"}
VALIDATION = "validatingwebhookconfiguration/kymograph-resource-validation"


@pytest.fixture
def says(installed):
    """Writes the ConfigMap; it is gone afterwards."""

    def write(**data):
        installed.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": NAMES, "data": data})

    yield write
    installed.kubectl("delete", "configmap", "kyverno", "-n", "kymograph", "--ignore-not-found")


def written(installed, which, **about):
    """The one webhook of the configuration, once its labels or annotations are as the ConfigMap says."""

    def look():
        made = installed.get(VALIDATION)
        return made if about.items() <= (made["metadata"].get(which) or {}).items() else None

    (webhook,) = eventually(look)["webhooks"]
    return webhook


def tried(installed, *flags, **about):
    """Whether a privileged Pod is let pass."""
    return installed.create(pod("bad", privileged=True, **about), *flags).returncode == 0


def test_excluded_users_are_let_pass_at_once_and_no_longer_than_that(installed, enforce, says) -> None:
    """By name, and not by the names of others."""
    enforce(NO_PRIVILEGES)
    assert not tried(installed, "--as=alice", *AS)
    says(excludeUsernames="ali*, !alina")
    eventually(lambda: tried(installed, "--as=alice", *AS))
    assert not tried(installed, "--as=alina", *AS)
    assert not tried(installed, "--as=bob", *AS)
    installed.kubectl("delete", "configmap", "kyverno", "-n", "kymograph")
    eventually(lambda: not tried(installed, "--as=alice", *AS))


def test_users_are_excluded_by_their_cluster_roles(installed, enforce, says) -> None:
    """As they are bound at this moment."""
    enforce(NO_PRIVILEGES)
    installed.kubectl("create", "clusterrolebinding", "trusted", "--clusterrole=edit", "--user=carol")
    try:
        says(excludeClusterRoles="edit")
        eventually(lambda: tried(installed, "--as=carol", *AS))
        assert not tried(installed, "--as=bob", *AS)
    finally:
        installed.kubectl("delete", "clusterrolebinding", "trusted")
    eventually(lambda: not tried(installed, "--as=carol", *AS))


def test_filtered_objects_are_let_pass(installed, enforce, says) -> None:
    """By kind, namespace and name."""
    enforce(NO_PRIVILEGES)
    says(resourceFilters="[Event,*,*][Pod,kube-public,*]")
    eventually(lambda: tried(installed, "--dry-run=server", namespace="kube-public"))
    assert not tried(installed, "--dry-run=server")


def test_a_mistake_is_told_and_lets_nothing_pass(installed, enforce, says) -> None:
    """By an Event of the ConfigMap, with the field; what is right in it counts."""
    enforce(NO_PRIVILEGES)
    says(
        resourceFilters="[Pod,kube-public,*] [Pod,*,*,*]",
        webhooks='{"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}',
        matchConditions='[{"name": "a", "expression": "no CEL at all"}]',
        webhookLabels='{"team": "a"}',
    )
    eventually(lambda: tried(installed, "--dry-run=server", namespace="kube-public"))
    assert "matchConditions" not in written(installed, "labels", team="a")
    assert not tried(installed, "--dry-run=server")

    def told():
        events = installed.get("events", "-n", "kymograph")["items"]
        return {each["message"].split(":")[1].strip() for each in events if each["reason"] == "ConfigurationInvalid"}

    eventually(lambda: told() >= {"resourceFilters", "webhooks"})


def test_images_that_name_no_registry_are_of_the_one_it_says(installed, enforce, says) -> None:
    """At once, and on while it says something that is none; its author is told."""
    foreign = {"key": "{{ images.containers.*.registry }}", "operator": "AnyNotIn", "value": ["ghcr.io"]}
    deny = {"conditions": [foreign]}
    enforce(policy("registries", {"message": "of {{ images.containers.*.registry }}", "deny": deny}))
    unnamed = {**pod("x"), "spec": {"containers": [{"name": "app", "image": "app:1"}]}}
    assert "docker.io" in installed.create(unnamed, "--dry-run=server").stderr
    says(defaultRegistry="ghcr.io")
    eventually(lambda: installed.create(unnamed, "--dry-run=server").returncode == 0)
    says(defaultRegistry="10.0.0.1")

    def told():
        events = installed.get("events", "-n", "kymograph")["items"]
        return any("10.0.0.1" in each["message"] for each in events if each["reason"] == "ConfigurationInvalid")

    eventually(told)
    assert installed.create(unnamed, "--dry-run=server").returncode == 0
    installed.kubectl("delete", "configmap", "kyverno", "-n", "kymograph")
    eventually(lambda: "docker.io" in installed.create(unnamed, "--dry-run=server").stderr)


def test_webhook_configurations_are_as_it_says(installed, enforce, says) -> None:
    """Besides the operator's own namespace, which is never asked about."""
    enforce(NO_PRIVILEGES)
    system = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system"]}
    says(
        webhooks='{"namespaceSelector": {"matchExpressions": [{"key": "kubernetes.io/metadata.name",'
        ' "operator": "NotIn", "values": ["kube-system"]}]}}',
        webhookAnnotations='{"admissions.enforcer/disabled": "true"}',
        matchConditions='[{"name": "no-system", "expression": "request.userInfo.username != \'system\'"}]',
    )
    webhook = written(installed, "annotations", **{"admissions.enforcer/disabled": "true"})
    own = {**system, "values": ["kymograph"]}
    assert webhook["namespaceSelector"] == {"matchExpressions": [system, own]}
    assert [each["name"] for each in webhook["matchConditions"]] == ["no-system"]
    assert not tried(installed, "--dry-run=server")


def conditional(expression):
    document = policy("conditional", NO_PRIVILEGES["spec"]["rules"][0]["validate"])
    document["spec"]["webhookConfiguration"] = {"matchConditions": [{"name": "only-bob", "expression": expression}]}
    return document


def test_the_api_server_evaluates_the_conditions_of_a_policy(installed, enforce) -> None:
    """It asks about this policy only where they hold, and checks them before the policy is taken."""
    enforce(conditional("request.userInfo.username == 'bob'"))
    eventually(lambda: not tried(installed, "--as=bob", *AS))
    assert tried(installed, "--as=alice", *AS)
    refused = installed.create(conditional("request.nothing == 'bob'"), "--dry-run=server")
    assert "spec.webhookConfiguration.matchConditions[0].expression: Invalid value" in refused.stderr
    warned = installed.create({**conditional("true"), "metadata": {"name": "other"}}, "--dry-run=server").stderr
    assert "Warning: spec.webhookConfiguration.matchConditions are evaluated by the API server" in warned
