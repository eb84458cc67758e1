"""What metrics say of policies: changes since the first complete list, the rules there are, nothing of what is gone."""

import copy

import pytest
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from kymograph.controllers import policies, policymetrics
from kymograph.telemetry import cells, instruments, metricsettings
from kymograph.telemetry.instruments import labels
from support.installed import NO_PRIVILEGES, policy

VERSIONS = iter(range(1, 10_000))


class Cluster:
    """Policies as the API server would tell of them, and what the metrics say."""

    def __init__(self):
        self.cells = cells.Cells(InstrumentationScope("test"), lambda: next(VERSIONS))
        self.instruments = instruments.declare(self.cells)
        self.store = policies.PolicyStore()
        self.metrics = policymetrics.PolicyMetrics(self.instruments, self.store)
        self.documents = {}

    def put(self, document, uid="1", **status):
        document = copy.deepcopy(document)
        document["metadata"] |= {"uid": uid, "resourceVersion": str(next(VERSIONS)), "generation": next(VERSIONS)}
        if status:
            document["status"] = status
        self.documents[policies.key_of(document)] = document
        self.store.put(document)
        return document

    def drop(self, document):
        key = policies.key_of(document)
        self.store.drop(key, self.documents.pop(key)["metadata"]["uid"])

    async def pages(self, resource):
        kind = resource.kind
        yield {"items": [each for key, each in self.documents.items() if key.kind == kind]}

    def points(self, name):
        metric = next((each for each in self.cells.read() if each.name == name), None)
        return [] if metric is None else metric.data.data_points

    def changes(self):
        """How many changes of which policy."""
        return {
            (point.attributes["policy_name"], point.attributes["policy_change_type"]): point.value
            for point in self.points("policy_changes")
        }

    def rules(self):
        return [point.attributes for point in self.points("policy_rule_info_total")]


@pytest.fixture
def cluster():
    return Cluster()


async def test_what_is_there_at_the_start_was_not_created(cluster):
    cluster.put(NO_PRIVILEGES)
    await cluster.store.load(cluster)
    assert cluster.changes() == {}


async def test_changes_after_the_start_are_counted_once(cluster):
    await cluster.store.load(cluster)
    cluster.put(NO_PRIVILEGES)
    assert cluster.changes() == {("no-privileges", "created"): 1}
    changed = copy.deepcopy(NO_PRIVILEGES)
    changed["spec"]["background"] = False
    cluster.put(changed)
    cluster.put(changed, ready=True)
    changed["metadata"]["labels"] = {"team": "a"}
    cluster.put(changed)
    assert cluster.changes() == {("no-privileges", "created"): 1, ("no-privileges", "updated"): 1}
    cluster.drop(changed)
    assert cluster.changes()["no-privileges", "deleted"] == 1
    (updated,) = [
        point for point in cluster.points("policy_changes") if point.attributes["policy_change_type"] == "updated"
    ]
    assert updated.attributes == {
        "policy_validation_mode": "enforce",
        "policy_type": "cluster",
        "policy_background_mode": "false",
        "policy_namespace": "-",
        "policy_name": "no-privileges",
        "policy_change_type": "updated",
    }


async def test_another_incarnation_is_a_deletion_and_a_creation(cluster):
    cluster.put(NO_PRIVILEGES, uid="1")
    await cluster.store.load(cluster)
    cluster.put(NO_PRIVILEGES, uid="2")
    assert cluster.changes() == {("no-privileges", "deleted"): 1, ("no-privileges", "created"): 1}


async def test_a_deletion_that_a_watch_missed_is_counted_when_it_is_found(cluster):
    cluster.put(NO_PRIVILEGES)
    await cluster.store.load(cluster)
    cluster.documents.clear()
    await cluster.store.load(cluster)
    assert cluster.changes() == {("no-privileges", "deleted"): 1}


def test_every_rule_is_there_with_those_for_controllers_of_pods(cluster):
    cluster.put(NO_PRIVILEGES, conditions=[{"type": "Ready", "status": "True"}])
    rules = {each["rule_name"]: each for each in cluster.rules()}
    assert set(rules) == {
        "no-privileges-rule",
        "autogen-no-privileges-rule",
        "autogen-cronjob-no-privileges-rule",
    }
    assert rules["no-privileges-rule"] == {
        "policy_namespace": "-",
        "policy_name": "no-privileges",
        "status_ready": "true",
        "policy_validation_mode": "enforce",
        "policy_type": "cluster",
        "policy_background_mode": "true",
        "rule_name": "no-privileges-rule",
        "rule_type": "validate",
    }
    assert {point.value for point in cluster.points("policy_rule_info_total")} == {1}


def test_readiness_is_what_the_condition_says_now(cluster):
    made = policy("local", {"pattern": {"metadata": {"name": "*"}}}, kind="Policy", namespace="team")
    cluster.put(made)
    assert {each["status_ready"] for each in cluster.rules()} == {"false"}
    cluster.put(made, conditions=[{"type": "Ready", "status": "True"}])
    assert {(each["status_ready"], each["policy_namespace"], each["policy_type"]) for each in cluster.rules()} == {
        ("true", "team", "namespaced")
    }


def test_rules_of_a_policy_that_does_not_compile_are_there_and_not_ready(cluster):
    broken = policy("broken", {"pattern": 7, "failureAction": "Audit"})
    broken["spec"]["rules"].append({"name": "images", "verifyImages": [{}]})
    broken["spec"]["rules"].append("no rule at all")
    cluster.put(broken)
    assert [(each["rule_name"], each["rule_type"], each["status_ready"]) for each in cluster.rules()] == [
        ("broken-rule", "validate", "false"),
        ("images", "imageVerify", "false"),
    ]
    assert {each["policy_validation_mode"] for each in cluster.rules()} == {"audit"}


def test_series_of_a_deleted_policy_go_and_no_others(cluster):
    """A policy in a namespace and a cluster-wide one of its name are two."""
    here = policy("same", {"pattern": {"metadata": {"name": "*"}}})
    there = policy("same", {"pattern": {"metadata": {"name": "*"}}}, kind="Policy", namespace="team")
    for document in (here, there):
        cluster.put(document, uid=document["kind"])
    for kind, namespace in (("cluster", "-"), ("namespaced", "team")):
        cluster.instruments.policy_results.bind(
            labels.Rule(
                "audit", kind, "true", namespace, "same", "Pod", "a", "create", "r", "pass", "validate", "x", "false"
            )
        ).add()
    cluster.drop(here)
    (left,) = cluster.points("policy_results")
    assert left.attributes["policy_namespace"] == "team"
    assert {each["policy_namespace"] for each in cluster.rules()} == {"team"}


def test_a_dropped_label_makes_no_difference_to_a_rule_being_one(cluster):
    cluster.put(NO_PRIVILEGES)
    cluster.cells.configure(
        metricsettings.from_spec({"exposure": {"policy_rule_info_total": {"dropLabels": ["rule_name"]}}})
    )
    (point,) = cluster.points("policy_rule_info_total")
    assert point.value == 1


def test_a_policy_is_ready_when_its_condition_says_so_and_held_whether_or_not_it_compiles(cluster):
    broken = copy.deepcopy(NO_PRIVILEGES)
    broken["metadata"]["name"] = "broken"
    broken["spec"]["rules"][0]["match"] = {}
    cluster.put(NO_PRIVILEGES, conditions=[{"type": "Ready", "status": "True"}])
    cluster.put(broken, conditions=[{"type": "Ready", "status": "True"}])
    ready = {point.attributes["policy_name"]: point.value for point in cluster.points("policy_ready")}
    assert ready == {"no-privileges": 1, "broken": 0}
    held = {point.attributes["compiled"]: point.value for point in cluster.points("policy_cache_policies")}
    assert held == {"true": 1, "false": 1}
    compiled = {
        point.attributes["result"]: point.count for point in cluster.points("policy_compilation_duration_seconds")
    }
    assert compiled == {"success": 1, "failure": 1}
