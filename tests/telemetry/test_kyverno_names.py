"""With `metrics.prefix: kyverno_` a scrape has Kyverno's families: names, types, HELP, labels and buckets, exactly.

The table is all that Kyverno 1.19 exports. What its CEL policies count has under our names no metrics of its own:
policies of every kind are in the same ones.
"""

import re

import pytest
from prometheus_client import parser

from kymograph.telemetry import policyresults, providers, settings
from kymograph.telemetry.instruments import labels
from support import scraped

BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 20, 25, 30, float("inf")]

POLICY = {"policy_validation_mode", "policy_type", "policy_background_mode", "policy_namespace", "policy_name"}
RESOURCE = {"resource_kind", "resource_namespace", "resource_request_operation"}
RULE = POLICY | RESOURCE | {"rule_name", "rule_result", "rule_type", "rule_execution_cause", "dry_run"}
REVIEW = RESOURCE | {"request_allowed", "request_webhook"}
CLEANED = {
    *("policy_type", "policy_namespace", "policy_name"),
    *("resource_kind", "resource_namespace", "deletion_propagation"),
}
NAMED = {"policy_name", "policy_namespace"}
GENERATED = NAMED | RESOURCE | {"execution_cause", "result"}
MUTATED = GENERATED | {"policy_background_mode"}
JUDGED = MUTATED | {"policy_validation_mode"}
DELETED = CLEANED - {"resource_kind"} | {"resource"}
TTL = {"resource_namespace", "resource_group", "resource_version", "resource_resource"}

KYVERNO = {
    "kyverno_policy_results_total": (
        "counter",
        RULE,
        (
            "can be used to track the results associated with the policies applied in the user's cluster, at the level"
            " from rule to policy to admission requests"
        ),
    ),
    "kyverno_policy_execution_duration_seconds": (
        "histogram",
        RULE,
        (
            "can be used to track the latencies (in seconds) associated with the execution/processing of the individual"
            " rules under Kyverno policies whenever they evaluate incoming resource requests"
        ),
    ),
    "kyverno_policy_rule_info_total": (
        "gauge",
        POLICY | {"status_ready", "rule_name", "rule_type"},
        (
            "can be used to track the info of the rules or/and policies present in the cluster. 0 means the rule"
            " doesn't exist and has been deleted, 1 means the rule is currently existent in the cluster"
        ),
    ),
    "kyverno_policy_changes_total": (
        "counter",
        POLICY | {"policy_change_type"},
        (
            "can be used to track all the changes associated with the Kyverno policies present on the cluster such as"
            " creation, updates and deletions"
        ),
    ),
    "kyverno_admission_requests_total": (
        "counter",
        REVIEW,
        "can be used to track the number of admission requests encountered by Kyverno in the cluster",
    ),
    "kyverno_deprecated_api_requests_total": (
        "counter",
        {"group", "version", "kind", "field"},
        "can be used to track requests using deprecated kyverno policy APIs and fields",
    ),
    "kyverno_admission_review_duration_seconds": (
        "histogram",
        REVIEW,
        (
            "can be used to track the latencies (in seconds) associated with the entire individual admission review."
            " For example, if an incoming request trigger, say, five policies, this metric will track the e2e latency"
            " associated with the execution of all those policies"
        ),
    ),
    "kyverno_ttl_controller_deletedobjects_total": (
        "counter",
        TTL,
        "can be used to track number of deleted objects by the ttl resource controller.",
    ),
    "kyverno_ttl_controller_errors_total": (
        "counter",
        TTL,
        "can be used to track number of ttl cleanup failures.",
    ),
    "kyverno_ttl_controller_info": (
        "gauge",
        TTL - {"resource_namespace"},
        "can be used to track individual resource controllers running for ttl based cleanup",
    ),
    "kyverno_cleanup_controller_deletedobjects_total": (
        "counter",
        CLEANED,
        "can be used to track number of deleted objects.",
    ),
    "kyverno_cleanup_controller_errors_total": (
        "counter",
        CLEANED,
        "can be used to track number of cleanup failures.",
    ),
    **{
        f"kyverno_{kind}_policy_results_total": (
            "counter",
            told,
            (
                f"can be used to track the results associated with the {called} policies applied in the user's cluster,"
                " at the level from rule to policy to admission requests."
            ),
        )
        for kind, called, told in (
            ("validating", "validating", JUDGED),
            ("image_validating", "image validating", JUDGED),
            ("mutating", "mutating", MUTATED),
            ("generating", "generating", GENERATED),
        )
    },
    **{
        f"kyverno_{kind}_policy_execution_duration_seconds": (
            "histogram",
            told,
            (
                "can be used to track the latencies (in seconds) associated with the execution/processing of individual"
                f" {called} policies when they evaluate incoming resource requests."
            ),
        )
        for kind, called, told in (
            ("validating", "validation", JUDGED),
            ("image_validating", "validation", JUDGED),
            ("mutating", "mutating", MUTATED),
            ("generating", "generating", GENERATED),
        )
    },
    "kyverno_deleting_controller_deletedobjects_total": (
        "counter",
        DELETED,
        "can be used to track number of deleted objects.",
    ),
    "kyverno_deleting_controller_errors_total": (
        "counter",
        DELETED,
        "can be used to track number of deleting failures.",
    ),
    "kyverno_http_requests_total": (
        "counter",
        {"http_method", "http_url"},
        "can be used to track the number of http requests",
    ),
    "kyverno_http_requests_duration_seconds": (
        "histogram",
        {"http_method", "http_url"},
        "can be used to track the latencies (in seconds) associated with the entire individual http request.",
    ),
    "kyverno_client_queries_total": (
        "counter",
        {"operation", "client_type", "resource_kind", "resource_namespace"},
        "can be used to track the number of client queries sent from Kyverno to the API-server",
    ),
    "kyverno_controller_reconcile_total": (
        "counter",
        {"controller_name"},
        "can be used to track number of reconciliation cycles",
    ),
    "kyverno_controller_requeue_total": (
        "counter",
        {"controller_name", "num_requeues"},
        "can be used to track number of reconciliation errors",
    ),
    "kyverno_controller_drop_total": (
        "counter",
        {"controller_name"},
        "can be used to track number of queue drops",
    ),
    "kyverno_updaterequest_total": (
        "gauge",
        {"resource_namespace"},
        "can be used to track the current number of updaterequests in the cluster",
    ),
    "kyverno_events_dropped_total": (
        "counter",
        set(),
        "can be used to track the number of events dropped by the event generator",
    ),
    "kyverno_breaker_total": (
        "counter",
        {"circuit_name"},
        "track number of times the breaker was invoked",
    ),
    "kyverno_breaker_drops_total": (
        "counter",
        {"circuit_name"},
        "track the number of times the breaker failed open and dropped",
    ),
    "kyverno_info": (
        "gauge",
        {"version"},
        "Kyverno version information",
    ),
}

CEL = ("ValidatingPolicy", "NamespacedValidatingPolicy", "ImageValidatingPolicy", "MutatingPolicy", "GeneratingPolicy")
POLICY_LABELS = ("enforce", "cluster", "true", "-", "no-privileges")


@pytest.fixture
async def scrape():
    """A scrape of a process in which everything has been counted once."""
    telemetry = providers.Telemetry(lambda _, subject: (str(subject), {}), facts={}, environ={})
    counted = telemetry.instruments
    rule = labels.Rule(*POLICY_LABELS, "Pod", "a", "create", "rule", "fail", "validate", "admission_request", "false")
    review = labels.Review("Pod", "a", "create", "true", "ValidatingWebhookConfiguration")
    cleaned = labels.Cleaned("a", "", "v1", "pods")
    for kind in ("ClusterPolicy", *CEL):
        bound = policyresults.bind(counted, rule._replace(policy_type=policyresults.policy_type(kind)))
        bound.results.add()
        bound.durations.record(0.3)
        mode, _, *others = POLICY_LABELS
        change = labels.Change(mode, policyresults.policy_type(kind), *others, "created")
        counted.policy_changes.bind(change).add()
    by_policy = labels.DeletedByPolicy("DeletingPolicy", "", "p", "pods", "a", "Foreground")
    counted.deleting_deleted_objects.bind(by_policy).add()
    counted.deleting_errors.bind(by_policy).add()
    counted.admission_requests.bind(review).add()
    counted.admission_review_duration.bind(review).record(0.3)
    counted.admission_refused.bind(("too_large",)).add()
    counted.deprecated_api_requests.bind(labels.Deprecated("kyverno.io", "v1", "ClusterPolicy", "")).add()
    counted.ttl_deleted_objects.bind(cleaned).add()
    counted.ttl_errors.bind(cleaned).add()
    deleted = labels.CleanedByPolicy("ClusterCleanupPolicy", "", "p", "Pod", "a", "Foreground")
    counted.cleanup_deleted_objects.bind(deleted).add()
    counted.cleanup_errors.bind(deleted).add()
    counted.http_requests.bind(("POST", "/validate/fail")).add()
    counted.http_requests_duration.bind(("POST", "/validate/fail")).record(0.3)
    counted.client_queries.bind(labels.Query("get", "kubeclient", "Pod", "a")).add()
    counted.reconciled.bind(("webhook-controller",)).add()
    counted.requeued.bind(("webhook-controller", "1")).add()
    counted.queue_dropped.bind(("webhook-controller",)).add()
    counted.update_requests_listed.observe(lambda: [(("kymograph",), 3)])
    counted.events_dropped.bind(()).add()
    counted.breaker.observe(lambda: [(("admission reports",), 3)])
    counted.breaker_drops.observe(lambda: [(("admission reports",), 1)])
    info = labels.RuleInfo("-", "p", "true", "audit", "cluster", "true", "rule", "validate")
    types = [policyresults.policy_type(kind) for kind in ("ClusterPolicy", *CEL)]
    counted.policy_rule_info.observe(lambda: [info._replace(policy_type=each) for each in types])
    counted.ttl_info.observe(lambda: [labels.Watched("", "v1", "pods")])

    async def render(prefix, **more):
        await telemetry.apply(settings.from_spec({"metrics": {"prefix": prefix, **more}}))
        return scraped.text(telemetry)

    yield render
    await telemetry.shutdown(1)


async def test_a_scrape_has_kyvernos_families_and_no_others_under_its_prefix(scrape):
    text = await scrape("kyverno_")
    helps = dict(re.findall(r"^# HELP (kyverno_\S+) (.*)$", text, re.MULTILINE))
    types = dict(re.findall(r"^# TYPE (kyverno_\S+) (.*)$", text, re.MULTILINE))
    assert {name: (types[name], helps[name]) for name in helps} == {
        name: (kind, help_text) for name, (kind, _, help_text) in KYVERNO.items()
    }


async def test_their_labels_and_buckets_are_kyvernos(scrape):
    families = parser.text_string_to_metric_families(await scrape("kyverno_"))
    seen = set()
    for family in families:
        names = {family.name, f"{family.name}_total"} & KYVERNO.keys()
        if not names:
            continue
        (name,) = names
        _, expected, _ = KYVERNO[name]
        seen.add(name)
        for sample in family.samples:
            assert sample.labels.keys() - {"le"} == expected
        if family.type == "histogram":
            assert [float(each.labels["le"]) for each in family.samples if each.name.endswith("_bucket")] == BUCKETS
            assert {each.name.removeprefix(name) for each in family.samples} == {"_bucket", "_sum", "_count"}
    assert seen == KYVERNO.keys()


async def test_what_kyverno_does_not_have_keeps_its_name(scrape):
    text = await scrape("kyverno_")
    assert '\nadmission_refused_total{reason="too_large"} 1\n' in text
    assert "\ntelemetry_spans_exported_total 0.0\n" in text
    assert "kyverno_admission_refused" not in text


async def test_without_the_prefix_the_names_are_the_same_but_for_it_and_one_metric_is_for_all_policies(scrape):
    with_prefix, without = await scrape("kyverno_"), await scrape("")
    names = {name.removeprefix("kyverno_") for name in re.findall(r"^# TYPE (\S+)", with_prefix, re.MULTILINE)}
    of_kinds = {name for name in names if re.match(r"(\w+ing_policy_|deleting_)", name)}
    assert len(of_kinds) == 10
    assert names - of_kinds == set(re.findall(r"^# TYPE (\S+)", without, re.MULTILINE))
    assert "kyverno_" not in without


def types_of(text: str, name: str) -> set[str]:
    """The values of `policy_type` in a metric."""
    return set(re.findall(rf'^{name}{{.*policy_type="(\w+)"', text, re.MULTILINE))


async def test_results_of_cel_policies_are_in_the_metrics_of_all_policies(scrape):
    """By kind; whoever moves a policy to CEL finds it where it was. Under Kyverno's names on demand."""
    names = (
        *("policy_results_total", "policy_execution_duration_seconds_count"),
        *("policy_changes_total", "policy_rule_info_total"),
    )
    every = {"cluster", *CEL}
    for prefix, said, shown in (
        ("", {}, every),
        ("kyverno_", {"unified": True}, every),
        ("kyverno_", {}, {"cluster"}),
        ("", {"unified": False}, {"cluster"}),
    ):
        text = await scrape(prefix, **said)
        assert {name: types_of(text, prefix + name) for name in names} == dict.fromkeys(names, shown)


async def test_the_labels_of_cel_policies_have_kyvernos_values(scrape):
    text = await scrape("kyverno_", byNamespace=False)
    assert (
        'kyverno_validating_policy_results_total{policy_validation_mode="Deny",policy_background_mode="true"'
        ',policy_name="no-privileges",policy_namespace="",resource_kind="Pod",resource_request_operation="create"'
        ',execution_cause="admission_request",result="fail"} 2'
    ) in text  # the namespaced kind has the same metrics


async def test_namespaces_of_objects_are_shown_under_kyvernos_names_and_otherwise_on_demand(scrape):
    """Kyverno's labels are its own; ours leave `resource_namespace` out. What was counted without it goes on."""
    text = await scrape("")
    assert set(re.findall(r'^(\w+){.*resource_namespace="', text, re.MULTILINE)) == {"updaterequest_total"}
    text = await scrape("kyverno_")
    (line,) = re.findall(r'^kyverno_policy_results_total{.*policy_type="cluster".*$', text, re.MULTILINE)
    assert 'resource_namespace=""' in line
    assert line.endswith(" 1")
