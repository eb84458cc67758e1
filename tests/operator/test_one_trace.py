"""One request is one story: a single trace from the API server to each rule, and an audit event that names it."""

import json
import uuid

import pytest

from kymograph.localcluster import cluster as localcluster
from kymograph.localcluster import installation, options
from support.installed import NO_PRIVILEGES, Installed, eventually, install, pod

WEBHOOK = "fail.validate.kymograph.dev"


def unique(name: str) -> str:
    """A name that no other test gives a Pod: spans and audit events of all tests are in one place."""
    return f"{name}-{uuid.uuid4().hex[:8]}"


def refusal_trace(otlp, name: str):
    """The server span of the review of the Pod with that name, and its trace with the API server's root in it."""
    server = otlp.wait_for(
        lambda span: (
            span.name == "admission validate CREATE Pod" and span.attributes.get("admission.request.name") == name
        ),
        60,
    )

    def whole(trace) -> bool:
        above = ancestors(trace, server)
        steps = {"POLICY /no-privileges", "RULE no-privileges-rule", "MATCH"}  # which may come one after the other
        return bool(above) and not above[-1].parent_id and steps <= {span.name for span in trace}

    return server, otlp.wait_for_trace(server.trace_id, whole, 60)


def ancestors(trace, span):
    """The spans above a span, nearest first."""
    by_id = {each.span_id: each for each in trace}
    found = []
    while span.parent_id in by_id:
        span = by_id[span.parent_id]
        found.append(span)
    return found


def audit_event(log, name: str) -> dict:
    """The audit event of the request to create the Pod with that name, which may be written after the answer."""

    def look() -> dict | None:
        lines = log.read_text(errors="replace").splitlines(keepends=True)  # the last may be half written
        about = [json.loads(line) for line in lines if f"/default/{name}/" in line and line.endswith("\n")]
        wanted = ("create", "ResponseComplete")
        return next((event for event in about if (event["verb"], event["stage"]) == wanted), None)

    return eventually(look)


def test_a_refusal_is_one_trace_that_begins_in_the_api_server(installed, enforce, otlp) -> None:
    """API server root, its call of the webhook, our server span, POLICY, RULE: in parent order, one trace id."""
    enforce(NO_PRIVILEGES)
    name = unique("traced")
    denied = installed.create(pod(name, privileged=True))
    assert "no-privileges" in denied.stderr

    server, trace = refusal_trace(otlp, name)
    assert server.name == "admission validate CREATE Pod"
    assert server.status == "unset", "a denial is no error"
    assert server.attributes["admission.response.allowed"] is False
    assert [event.name for event in server.events] == ["kymograph.denied"]

    above = ancestors(trace, server)
    assert above[0].kind == "client"
    assert {span.service for span in above} == {"apiserver"}
    assert above[-1].parent_id == ""

    rule = next(span for span in trace if span.name == "RULE no-privileges-rule")
    assert rule.attributes["kymograph.rule.result"] == "fail"
    assert ancestors(trace, rule)[:2] == [
        next(span for span in trace if span.name == "POLICY /no-privileges"),
        server,
    ]
    match = next(span for span in trace if span.name == "MATCH" and span.parent_id == rule.span_id)
    assert match.attributes["kymograph.match.result"] == "matched"
    assert {span.service for span in (match, rule, server)} == {"kymograph"}


def test_the_audit_event_names_object_trace_and_change(installed, enforce, otlp) -> None:
    """The audit event of a refused request carries our annotations under the webhook's name."""
    enforce(NO_PRIVILEGES)
    wanted = unique("audited")
    installed.create(pod(wanted, privileged=True))
    server, _ = refusal_trace(otlp, wanted)

    annotations = audit_event(installed.cluster.audit_log, wanted)["annotations"]
    assert annotations[f"{WEBHOOK}/traceparent"] == f"00-{server.trace_id}-{server.span_id}-01"
    group, resource, namespace, name, uid = annotations[f"{WEBHOOK}/object"].split("/")
    assert (group, resource, namespace, name, len(uid)) == ("", "pods", "default", wanted, 36)
    assert len(bytes.fromhex(annotations[f"{WEBHOOK}/digest"])) == 16


def test_a_generated_name_is_in_the_audit_event(installed, enforce) -> None:
    """The audit event's own objectRef has no name for a generateName create; the annotation brings it."""
    enforce(NO_PRIVILEGES)
    document = pod("x")
    document["metadata"] = {"generateName": "born-", "namespace": "default"}
    created = installed.create(document, "-o", "name").stdout.strip().partition("/")[2]
    event = audit_event(installed.cluster.audit_log, created)
    assert f"/{created}/" in event["annotations"][f"{WEBHOOK}/object"]
    installed.kubectl("delete", "pod", created, "--now")


@pytest.mark.timeout(500)  # a control plane and an operator of its own
def test_annotations_arrive_at_level_metadata_too(otlp) -> None:
    """Clusters that audit without bodies still join decisions to requests."""
    choice = options.Options(tracing=options.Tracing(endpoint=otlp.endpoint), audit_level="Metadata")
    with localcluster.LocalCluster(choice) as local:
        install(local)
        with installation.Operator(local) as operator:
            quiet = Installed(local, operator)
            quiet.enforce(NO_PRIVILEGES)
            quiet.create(pod("quiet", privileged=True))
        event = audit_event(local.audit_log, "quiet")
    assert event["level"] == "Metadata"
    assert "requestObject" not in event
    assert f"{WEBHOOK}/digest" in event["annotations"]
