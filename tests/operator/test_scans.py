"""What policies say of objects that no webhook is asked about is to be read as well.

Each test has policies and objects of its own names: those of the test before are let go while it begins, and its Pods
may be watched still.
"""

import json
import time

import pytest

from kymograph.cli import main
from support.installed import eventually, pod, policy

PATIENCE = 90


def audit(name, **spec):
    """A policy that wants a label on Pods of this module, and only looks."""
    match = {"any": [{"resources": {"kinds": ["Pod"], "names": ["scanned-*"]}}]}
    validate = {"failureAction": "Audit", "message": "a team", "pattern": {"metadata": {"labels": {"team": "?*"}}}}
    return policy(name, validate, **{"match": match, **spec})


def report(installed, kind, name, namespace="default"):
    """The report on an object; None where there is none."""
    uid = installed.get(kind, name, "-n", namespace)["metadata"]["uid"]
    shown = installed.kubectl("get", "policyreport", uid, "-n", namespace, "-o", "json", check=False)
    if shown.returncode != 0:
        assert "NotFound" in shown.stderr, shown.stderr
        return None
    return json.loads(shown.stdout)


def found(stored):
    """The results of a report by policy; each has one rule."""
    return {row["policy"]: row["result"] for row in (stored or {}).get("results", [])}


def reported(installed, name, kind="pod", **results):
    """Wait until the results on an object are these and no others; its report then."""

    def look():
        stored = report(installed, kind, name)
        return stored if found(stored) == results else None

    return eventually(look, PATIENCE)


def state_of(installed, kind):
    """The state of the scan of a kind."""
    shown = installed.kubectl("get", "configmap", "kymograph-scans", "-n", "kymograph", "-o", "json", check=False)
    told = json.loads(json.loads(shown.stdout)["data"]["progress.json"]) if shown.returncode == 0 else {}
    return next((each["state"] for each in told.get("resources", []) if each["kind"] == kind), None)


def scan_of_pods(otlp, name, since, **attributes):
    """Wait for a scan of all Pods, for a policy among others, that began after a moment and was not broken off."""
    return otlp.wait_for(
        lambda span: (
            span.name == "SCAN Pod"
            and span.start > since
            and name in span.attributes["kymograph.scan.policies"]
            and {"kymograph.scan.news", *attributes} <= span.attributes.keys()
            and attributes.items() <= span.attributes.items()
        ),
        PATIENCE,
    )


def pod_names(installed):
    """The Pods of all namespaces: the simulated node's may come and go."""
    return sorted(each["metadata"]["uid"] for each in installed.get("pods", "--all-namespaces")["items"])


def make(installed, *documents):
    for document in documents:
        created = installed.create(document)
        assert created.returncode == 0, created.stderr


@pytest.fixture(autouse=True)
def _clean(installed):
    yield
    made = ["--field-selector", "metadata.name!=kube-root-ca.crt"]
    installed.kubectl("delete", "pods,configmaps", *made, "--force", "--grace-period=0", "--ignore-not-found")


def test_objects_that_exist_before_the_policy_are_reported_on(installed, enforce) -> None:
    """With the rule's result, the time and the process; the summary counts it."""
    make(installed, pod("scanned-before"), pod("scanned-good", labels={"team": "a"}), pod("other"))
    enforce(audit("existing"))
    stored = reported(installed, "scanned-before", existing="fail")
    reported(installed, "scanned-good", existing="pass")
    (row,) = stored["results"]
    assert row["rule"] == "existing-rule"
    assert row["properties"] == {"process": "background scan"}
    assert row["timestamp"]["seconds"] > 1_700_000_000
    assert stored["summary"] == {"pass": 0, "fail": 1, "warn": 0, "error": 0, "skip": 0}
    assert report(installed, "pod", "other") is None


def test_policies_that_look_only_at_requests_are_not_scanned_for(installed, enforce) -> None:
    """`background: false`: the object is reported on when it next changes; one without is, by the same scan."""
    make(installed, pod("scanned-quiet"))
    enforce(audit("silent", background=False))
    enforce(audit("beside"))
    reported(installed, "scanned-quiet", beside="fail")
    installed.kubectl("label", "pod", "scanned-quiet", "team=a")
    reported(installed, "scanned-quiet", beside="pass", silent="pass")


def test_an_object_that_changes_past_the_webhooks_is_scanned_again(installed, enforce) -> None:
    """The policy is not for admission, so that no webhook is asked."""
    make(installed, pod("scanned-past"))
    enforce(audit("unasked", admission=False))
    reported(installed, "scanned-past", unasked="fail")
    installed.kubectl("label", "pod", "scanned-past", "team=a")
    reported(installed, "scanned-past", unasked="pass")
    make(installed, pod("scanned-new"))
    reported(installed, "scanned-new", unasked="fail")


def test_a_changed_policy_is_asked_again_and_its_stale_results_go(installed, enforce) -> None:
    """Other rules, other kinds: what it says no more is nowhere to be read."""
    make(installed, pod("scanned-once"), {**_config_map("scanned-map")})
    enforce(audit("turned"))
    reported(installed, "scanned-once", turned="fail")
    changed = audit("turned")
    (rule,) = changed["spec"]["rules"]
    rule["match"] = {"any": [{"resources": {"kinds": ["ConfigMap"], "names": ["scanned-*"]}}]}
    installed.apply(changed)
    reported(installed, "scanned-map", "configmap", turned="fail")
    eventually(lambda: report(installed, "pod", "scanned-once") is None, PATIENCE)


def test_an_exception_is_heeded_and_so_is_its_end(installed, enforce) -> None:
    """Without any change of the object."""
    make(installed, pod("scanned-excepted"))
    enforce(audit("strict"))
    reported(installed, "scanned-excepted", strict="fail")
    installed.apply(
        {
            "apiVersion": "kyverno.io/v2",
            "kind": "PolicyException",
            "metadata": {"name": "for-one", "namespace": "kymograph"},
            "spec": {
                "exceptions": [{"policyName": "strict", "ruleNames": ["*"]}],
                "match": {"any": [{"resources": {"kinds": ["Pod"], "names": ["scanned-excepted"]}}]},
            },
        }
    )
    try:
        (row,) = reported(installed, "scanned-excepted", strict="skip")["results"]
        assert row["properties"]["exceptions"] == "for-one"
    finally:
        installed.kubectl("delete", "policyexception", "for-one", "-n", "kymograph")
    reported(installed, "scanned-excepted", strict="fail")


def test_contexts_and_labels_of_namespaces_are_known_to_scans(installed, enforce) -> None:
    """What admission may ask, a scan may: a ConfigMap, an API call, a namespace selector."""
    make(installed, pod("scanned-context"), {**_config_map("scanned-limits"), "data": {"team": "blue"}})
    match = {
        "any": [
            {
                "resources": {
                    "kinds": ["Pod"],
                    "names": ["scanned-*"],
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}},
                }
            }
        ]
    }
    document = policy(
        "asking",
        {
            "failureAction": "Audit",
            "message": "wanted {{ limits.data.team }}, there are {{ count }}",
            "deny": {"conditions": {"any": [{"key": "{{ limits.data.team }}", "operator": "Equals", "value": "blue"}]}},
        },
        match=match,
    )
    document["spec"]["rules"][0]["context"] = [
        {"name": "limits", "configMap": {"name": "scanned-limits", "namespace": "default"}},
        {
            "name": "count",
            "apiCall": {
                "urlPath": "/api/v1/namespaces/default/configmaps",
                "jmesPath": "items[?data.team=='blue'] | length(@)",
            },
        },
    ]
    enforce(document)
    (row,) = reported(installed, "scanned-context", asking="fail")["results"]
    assert row["message"] == "wanted blue, there are 1"


def test_a_namespace_with_other_labels_has_its_objects_scanned_again(installed, enforce) -> None:
    """Within seconds, in both directions; nobody touched the objects."""
    make(installed, pod("scanned-labelled"))
    selected = {"kinds": ["Pod"], "names": ["scanned-*"], "namespaceSelector": {"matchLabels": {"checked": "yes"}}}
    enforce(audit("selecting", match={"any": [{"resources": selected}]}))
    enforce(audit("everywhere"))
    reported(installed, "scanned-labelled", everywhere="fail")
    installed.kubectl("label", "namespace", "default", "checked=yes")
    try:
        reported(installed, "scanned-labelled", everywhere="fail", selecting="fail")
    finally:
        installed.kubectl("label", "namespace", "default", "checked-")
    reported(installed, "scanned-labelled", everywhere="fail")


def test_a_violation_that_was_there_before_is_told_as_it_is(installed, enforce, otlp) -> None:
    """`allowExistingViolations` lets an update of a bad object pass, and makes it no better.

    The review and the scan of what it let pass are written in either order, or together.
    """
    make(installed, pod("scanned-bad"))
    document = audit("lenient")
    document["spec"]["rules"][0]["validate"] |= {"failureAction": "Enforce", "allowExistingViolations": True}
    enforce(document)
    reported(installed, "scanned-bad", lenient="fail")
    began = time.time_ns()
    installed.kubectl("annotate", "pod", "scanned-bad", "touched=yes")
    reviewed = otlp.wait_for(
        lambda span: (
            span.name == "admission validate UPDATE Pod" and span.attributes["admission.request.name"] == "scanned-bad"
        ),
        PATIENCE,
    )
    looked = otlp.wait_for(
        lambda span: (
            span.name == "SCAN object"
            and span.start > began
            and span.attributes.get("kymograph.object.name") == "scanned-bad"
        ),
        PATIENCE,
    )
    for cause in (reviewed, looked):
        otlp.wait_for(
            lambda span, cause=cause: (
                span.name == "REPORTS write"
                and "kymograph.report.outcome" in span.attributes
                and cause.span_id in [link.span_id for link in span.links]
            ),
            PATIENCE,
        )
    assert found(report(installed, "pod", "scanned-bad")) == {"lenient": "fail"}


def test_what_a_rule_changed_is_told_and_outlives_scans(installed, enforce, otlp) -> None:
    """With the words of Kyverno; a policy that judges the object as well says so beside it."""
    labelling = audit("labelling")
    (rule,) = labelling["spec"]["rules"]
    del rule["validate"]
    rule["mutate"] = {"patchStrategicMerge": {"metadata": {"labels": {"team": "given"}}}}
    enforce(labelling)
    enforce(audit("judging"))
    make(installed, pod("scanned-mutated"))
    stored = reported(installed, "scanned-mutated", judging="pass", labelling="pass")
    row = next(each for each in stored["results"] if each["policy"] == "labelling")
    assert row["message"] == "mutated Pod/scanned-mutated in namespace default"
    began = time.time_ns()
    installed.apply(audit("judging", emitWarning=True))
    scan_of_pods(otlp, "judging", began, **{"kymograph.scan.news": 0})
    assert found(report(installed, "pod", "scanned-mutated")) == {"judging": "pass", "labelling": "pass"}


def test_each_policy_says_when_it_was_scanned_for(installed, enforce) -> None:
    """In its status, beside the conditions."""
    make(installed, pod("scanned-status"))
    enforce(audit("telling"))

    def ended():
        status = installed.get("clusterpolicy", "telling").get("status", {})
        return status if status.get("scan", {}).get("finishedAt") else None

    told = eventually(ended, PATIENCE)
    assert told["scan"]["objects"] >= 1
    assert told["scan"]["startedAt"] <= told["scan"]["finishedAt"]
    assert [each["type"] for each in told["conditions"]] == ["Ready"]


def test_what_changed_while_the_operator_was_away_is_found_and_what_did_not_is_not_written(
    installed, enforce, otlp
) -> None:
    """A scan after the start: one object differs, a thousand writes would not be noticed but for their versions.

    None differs any more for a scan that is begun again, because the API server broke off the one before.
    """
    names = [*(f"scanned-{number}" for number in range(5)), "scanned-away"]
    make(installed, *map(pod, names))
    enforce(audit("lasting", failurePolicy="Ignore"))
    before = {name: reported(installed, name, lasting="fail") for name in names}
    installed.operator.stop()
    away = time.time_ns()
    try:
        installed.kubectl("label", "pod", "scanned-away", "team=a")
    finally:
        installed.operator.launch()
        installed.operator.wait_ready()
    scan = scan_of_pods(otlp, "lasting", away)
    assert scan.attributes["kymograph.scan.news"] <= 1
    reported(installed, "scanned-away", lasting="pass")
    assert [name for name in names if report(installed, "pod", name) != before[name]] == ["scanned-away"]


def test_a_kind_that_may_not_be_listed_is_said_once(installed, enforce) -> None:
    """In the log, ready to be granted, and in what `kymograph reports status` reads; the others are scanned.

    Once in the life of a process: another test may have had this one or another say so before.
    """

    def times_said() -> int:
        return installed.operator.log.read_text().count("Objects of kind PriorityClass get no report")

    before = times_said()
    make(installed, pod("scanned-beside"))
    match = {"any": [{"resources": {"kinds": ["Pod", "PriorityClass"]}}]}
    enforce(audit("refused", match=match))
    eventually(lambda: state_of(installed, "PriorityClass") == "forbidden", PATIENCE)
    reported(installed, "scanned-beside", refused="fail")
    assert times_said() >= 1
    assert times_said() <= before + 1


def test_events_tell_of_violations(installed, enforce) -> None:
    """Of the policy and of the object, by Kyverno's reasons and sources, in a scan and in a review."""
    make(installed, pod("scanned-eventful"))
    enforce(audit("eventful"))

    def told_of(name, source, beginning):
        """Wait for the Events about an object by one source whose text begins so."""
        return eventually(
            lambda: [each for each in events(installed, name, source) if each["message"].startswith(beginning)],
            PATIENCE,
        )

    scanned = "policy eventful/eventful-rule fail: validation error: a team."
    told = told_of("scanned-eventful", "kyverno-scan", scanned)
    assert {(each["reason"], each["type"], each["action"]) for each in told} == {
        ("PolicyViolation", "Warning", "Resource Passed")
    }
    of_policy = "Pod default/scanned-eventful: [eventful-rule] fail; validation error"
    assert {each["related"]["name"] for each in told_of("eventful", "kyverno-scan", of_policy)} == {"scanned-eventful"}
    blocking = audit("blocking")
    blocking["spec"]["rules"][0]["validate"]["failureAction"] = "Enforce"
    enforce(blocking)
    assert installed.create(pod("scanned-blocked")).returncode == 1
    of_policy = "Pod default/scanned-blocked: [blocking-rule] fail (blocked); "
    (blocked,) = told_of("blocking", "kyverno-admission", of_policy)
    assert (blocked["reason"], blocked["action"]) == ("PolicyViolation", "Resource Blocked")
    assert not events(installed, "scanned-blocked", "kyverno-admission")


def test_a_scan_is_a_trace(installed, enforce, otlp) -> None:
    """A root for the kind, a child for each batch, what policies said of an object, and a link from its report.

    No other policy is about LimitRanges: nobody watches them yet, so that it is a scan that finds this one.
    """
    limits = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "scanned-traced"}, "spec": {"limits": []}}
    make(installed, limits)
    try:
        enforce(audit("traced", match={"any": [{"resources": {"kinds": ["LimitRange"], "names": ["scanned-*"]}}]}))
        write = otlp.wait_for(
            lambda span: (
                span.name == "REPORTS write" and span.attributes.get("kymograph.object.name") == "scanned-traced"
            ),
            PATIENCE,
        )
    finally:
        installed.kubectl("delete", "limitrange", "scanned-traced")
    ((trace_id, span_id),) = {(link.trace_id, link.span_id) for link in write.links}
    batch = otlp.wait_for(lambda span: span.span_id == span_id, PATIENCE)
    assert (batch.name, batch.trace_id) == ("SCAN batch", trace_id)
    scan = otlp.wait_for(lambda span: span.span_id == batch.parent_id, PATIENCE)
    assert (scan.name, scan.parent_id) == ("SCAN LimitRange", "")
    assert "traced" in scan.attributes["kymograph.scan.policies"]
    rule = otlp.wait_for(lambda span: span.name == "RULE traced-rule" and span.trace_id == trace_id, PATIENCE)
    applied = otlp.wait_for(lambda span: span.span_id == rule.parent_id, PATIENCE)
    about = otlp.wait_for(lambda span: span.span_id == applied.parent_id, PATIENCE)
    assert (applied.name, about.name, about.parent_id) == ("POLICY /traced", "SCAN object", span_id)
    assert about.attributes["kymograph.object.name"] == "scanned-traced"
    assert rule.attributes["kymograph.rule.result"] == "fail"


def test_the_command_line_shows_how_far_scans_are(installed, enforce, capsys) -> None:
    """What was scanned, objects without a report, and the results by policy."""
    make(installed, pod("scanned-shown"), pod("other-shown"))
    enforce(audit("showing"))
    reported(installed, "scanned-shown", showing="fail")
    status = ["reports", "status", "--kubeconfig", str(installed.cluster.admin_kubeconfig)]

    created = installed.get("clusterpolicy", "showing")["metadata"]["creationTimestamp"].rstrip("Z")

    def shown_once_scanned():
        """What the command shows of a scan for this policy alone, if no Pod came or went meanwhile, or since.

        And if the reports of policies before are gone: only one of these Pods is to have one.
        """
        before = pod_names(installed)
        assert main.main([*status, "-o", "json"]) == 0
        shown = json.loads(capsys.readouterr().out)
        pods = next((each for each in shown["kinds"] if each["kind"] == "Pod"), {"state": "pending"})
        if shown["started"] < created or pods["state"] != "scanned":
            return None
        told = (pods["policies"], pods["objects"], pods["without"])
        if told == (1, len(before), len(before) - 1) and pod_names(installed) == before:
            return shown, pods
        installed.kubectl("annotate", "clusterpolicy", "showing", f"seen={time.time_ns()}", "--overwrite")  # once more
        return None

    shown, pods = eventually(shown_once_scanned, PATIENCE)
    assert pods["resource"] == "pods"
    assert pods["scanned"] >= 2
    assert shown["results"]["showing"] == {"fail": 1}
    assert main.main(status) == 0
    assert ["showing", "0", "1", "0", "0", "0"] in [line.split() for line in capsys.readouterr().out.splitlines()]


def events(installed, name, source):
    """The Events about an object by one source, as kubectl shows them."""
    selector = f"involvedObject.name={name},reportingComponent={source}"
    return installed.get("events", "-n", "default", "--field-selector", selector)["items"]


def _config_map(name):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}}
