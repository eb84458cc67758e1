"""From findings to a report in the cluster, whatever the cluster says."""

import asyncio
import logging

import pytest
from opentelemetry.trace import SpanContext, SpanKind, StatusCode, TraceFlags

from kymograph.clients.kubernetes import errors
from kymograph.controllers.reports import findings, pace, queue, writer
from kymograph.controllers.reports.writer import Outcome
from support.reporting import FOUND_AT, POD, Controller, found, row, served

REQUEST = SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
NO_RIGHT = errors.Forbidden(403, "Forbidden", 'pods "web" is forbidden: User "us" cannot get resource "pods"')
TERMINATING = errors.Forbidden(
    403, "Forbidden", "unable to create new content in namespace shop because it is being terminated"
)
NO_NAMESPACE = errors.NotFound(404, "NotFound", 'namespaces "shop" not found')
NO_KIND = errors.NotFound(404, "", "no message")
CONFLICT = errors.Conflict(409, "Conflict", "modified")


def told(cluster) -> dict[str, str]:
    """The results in the report on the Pod, by policy."""
    return {each["policy"]: each["result"] for each in (cluster.report() or {}).get("results", [])}


async def test_a_new_object_gets_its_report_in_two_calls(cluster, controller) -> None:
    """The object is read, the report created."""
    assert await controller.settle(found(p="pass", q="fail", fresh=True)) == [Outcome.WRITTEN]
    assert cluster.verbs() == [("get", "pods"), ("create", "policyreports")]
    assert told(cluster) == {"p": "pass", "q": "fail"}


async def test_an_update_replaces_what_its_policies_said(cluster, controller) -> None:
    """Results of policies that were not asked this time stay."""
    await controller.settle(found(p="pass", q="pass", fresh=True))
    await controller.settle(found(p="fail", replaces="7"))
    assert told(cluster) == {"p": "fail", "q": "pass"}
    assert cluster.verbs()[2:] == [("get", "pods"), ("get", "policyreports"), ("apply", "policyreports")]
    assert cluster.report()["summary"] == {"pass": 1, "fail": 1, "warn": 0, "error": 0, "skip": 0}


async def test_nothing_new_is_not_written(cluster, controller) -> None:
    """Compared with what is stored: a restart, or another replica, changes nothing."""
    await controller.settle(found(p="pass", fresh=True))
    before = cluster.report()
    assert (await controller.settle(found(at=FOUND_AT + 1, p="pass")))[-1] is Outcome.UNCHANGED
    assert cluster.report() is before


@pytest.mark.parametrize(
    ("metadata", "outcome"),
    [
        ({"uid": "another"}, Outcome.OBJECT_GONE),
        ({"uid": "uid-web", "deletionTimestamp": "2024-03-01T12:00:00Z"}, Outcome.OBJECT_GONE),
        ({"uid": "uid-web", "labels": {writer.DISABLED: ""}}, Outcome.DISABLED),
        ({"uid": "uid-web", "resourceVersion": "7"}, Outcome.NOT_STORED),
    ],
)
async def test_only_what_is_stored_is_reported(cluster, controller, metadata: dict, outcome: Outcome) -> None:
    """Another incarnation, an object that goes, one that opted out, one that the request did not change."""
    cluster.put("pods", "shop", "web", **metadata)
    assert await controller.settle(found(p="fail", replaces="7")) == [outcome]
    assert cluster.report() is None


async def test_a_forged_object_is_not_reported(cluster, controller) -> None:
    """Anybody may send a review of an object that never was."""
    ghost = POD._replace(name="ghost", uid="made-up")
    assert await controller.settle(found(subject=ghost, p="pass", fresh=True)) == [Outcome.OBJECT_GONE]
    assert cluster.verbs() == [("get", "pods")]


@pytest.mark.parametrize(
    ("subject", "plural"),
    [
        (POD._replace(kind="Secret"), "pods"),
        (POD, "secrets"),
        (POD, "pods/web/log"),
        (POD._replace(group="../../x"), "pods"),
        (POD._replace(namespace=""), "pods"),
    ],
)
async def test_a_made_up_kind_is_never_called(
    cluster, controller, caplog, subject: findings.Subject, plural: str
) -> None:
    """Group, version, resource and kind have to be as discovery says; nothing else gets into a path or the log."""
    assert await controller.settle(found(subject=subject, plural=plural, p="pass")) == [Outcome.OBJECT_GONE]
    assert cluster.calls == []
    assert caplog.text == ""
    assert controller.catalogues.refreshed == 1


async def test_a_kind_that_was_just_installed_is_found(cluster, controller) -> None:
    """Discovery is read again where a kind is unknown, at most every ten seconds."""
    widget = findings.Subject("shop.example", "v1", "Widget", "shop", "w", "uid-w")
    cluster.put("widgets", "shop", "w", uid="uid-w")
    controller.catalogues.next = type(controller.catalogues.current)(
        (served("shop.example", "v1", "widgets", "Widget"),)
    )
    assert await controller.settle(found(subject=widget, plural="widgets", p="pass")) == [Outcome.WRITTEN]


async def test_an_object_that_opts_out_loses_its_report(cluster, controller) -> None:
    """The label counts from the next change on."""
    await controller.settle(found(p="pass", fresh=True))
    cluster.put("pods", "shop", "web", uid="uid-web", labels={writer.DISABLED: "any"})
    assert (await controller.settle(found(p="pass")))[-1] is Outcome.DISABLED
    assert cluster.report() is None


async def test_without_any_result_the_report_goes(cluster, controller) -> None:
    """The last policy with something to say has nothing more to say."""
    await controller.settle(found(p="pass", fresh=True))
    assert (await controller.settle(found(p="")))[-1] is Outcome.DELETED
    assert cluster.report() is None


async def test_results_of_a_policy_deleted_meanwhile_are_not_written(cluster, controller, store) -> None:
    """Between the review and the write a policy may go."""
    store.drop(store.held[0].key, store.held[0].uid)
    assert await controller.settle(found(p="pass", q="pass", fresh=True)) == [Outcome.WRITTEN]
    assert told(cluster) == {"q": "pass"}


async def test_two_replicas_lose_nothing_of_each_other(cluster, controller) -> None:
    """Both see one request by another webhook: whoever comes second reads, merges and writes again."""
    await controller.settle(found(p="pass", fresh=True))
    await controller.settle(found(q="fail", fresh=True))
    assert told(cluster) == {"p": "pass", "q": "fail"}

    def interfere() -> None:
        cluster.report()["metadata"]["resourceVersion"] = "changed"
        cluster.report()["results"][0]["result"] = "warn"

    cluster.fail("apply", "policyreports", interfere)
    await controller.settle(found(q="pass"))
    assert told(cluster) == {"p": "warn", "q": "pass"}


async def test_a_report_is_not_deleted_with_what_another_replica_has_just_written(cluster, controller) -> None:
    """One has nothing left to say, the other has: what was read is not what would be deleted."""
    await controller.settle(found(p="pass", fresh=True))

    def interfere() -> None:
        stored = cluster.report()
        stored["metadata"]["resourceVersion"] = "changed"
        stored["results"].append(row("q", result="fail"))

    cluster.fail("delete", "policyreports", interfere)
    await controller.settle(found(p=""))
    assert told(cluster) == {"q": "fail"}
    assert cluster.report()["summary"] == {"pass": 0, "fail": 1, "warn": 0, "error": 0, "skip": 0}


async def test_every_report_that_is_ever_stored_counts_right(cluster, store, controller, exported) -> None:
    """Two replicas write what they found in one object, at once and again and again."""
    summaries = []
    written = cluster._store

    def watched(resource, namespace, document, uid):
        results = [each["result"] for each in document["results"]]
        summaries.append(document["summary"] == {each: results.count(each) for each in document["summary"]})
        return written(resource, namespace, document, uid)

    cluster._store = watched
    other = Controller(cluster, store, exported)
    for turn in range(20):
        mine, theirs = ("pass", "fail") if turn % 2 else ("fail", "error")
        await asyncio.gather(controller.settle(found(p=mine)), other.settle(found(q=theirs)))
        assert told(cluster) == {"p": mine, "q": theirs}
    assert len(summaries) == 40
    assert all(summaries)


@pytest.mark.parametrize(
    "problem",
    [errors.StatusError(500, "InternalError", "etcd"), errors.StatusError(429, "TooManyRequests", "slow"), CONFLICT],
)
async def test_a_refusal_is_tried_again(cluster, controller, problem: errors.StatusError) -> None:
    """With a back-off, until it works."""
    cluster.fail("create", "policyreports", *[problem] * 5)
    assert await controller.settle(found(p="pass")) == [Outcome.WRITTEN]
    assert told(cluster) == {"p": "pass"}


@pytest.mark.parametrize("code", [429, 503, 504])
async def test_an_api_server_that_has_no_time_is_asked_less_often(cluster, controller, monkeypatch, code: int) -> None:
    """For as long as it takes: that is no fault of the object, whose report is not given up."""
    monkeypatch.setattr(pace, "ONE_REFUSAL", 0.0)
    no_time = errors.StatusError(code, "TooManyRequests", "slow")
    cluster.fail("create", "policyreports", *[no_time] * (writer.MOST_FAILURES + 1))
    assert await controller.settle(found(p="pass")) == [Outcome.WRITTEN]
    assert controller.writer._pace.per_second < pace.FIRST / 2**writer.MOST_FAILURES


async def test_what_is_always_refused_is_given_up(cluster, controller, caplog) -> None:
    """After eight tries, with the reason in the log; the others go on."""
    invalid = errors.StatusError(422, "Invalid", "results: too many")
    cluster.fail("create", "policyreports", *[invalid] * 100)
    assert await controller.settle(found(p="pass")) == [Outcome.FAILED]
    assert cluster.verbs().count(("create", "policyreports")) == writer.MOST_FAILURES
    assert "results: too many" in caplog.text


@pytest.mark.parametrize(
    ("verb", "plural", "problem"),
    [
        ("create", "policyreports", NO_KIND),
        ("create", "policyreports", NO_RIGHT),
        ("get", "policyreports", NO_RIGHT),
        ("get", "pods", errors.Unreachable("refused")),
    ],
)
async def test_while_nothing_can_be_written_everything_waits(
    cluster, controller, caplog, verb: str, plural: str, problem: errors.KubernetesError
) -> None:
    """Kind not installed, no right, no API server: said once, tried now and then, nothing is given up."""
    caplog.set_level(logging.INFO)
    cluster.fail(verb, plural, *[problem] * 12)
    other = POD._replace(name="other", uid="uid-other")
    cluster.put("pods", "shop", "other", uid="uid-other")
    assert await controller.settle(found(p="pass"), found(subject=other, p="pass")) == [Outcome.WRITTEN] * 2
    said = [record.message.split(",")[0] for record in caplog.records]
    assert said.count("No report can be written") == 1
    assert said[-1] == "Reports are written again"


@pytest.mark.parametrize("problem", [TERMINATING, NO_NAMESPACE])
async def test_a_namespace_that_goes_takes_its_objects_along(cluster, controller, caplog, problem) -> None:
    """That is no missing right and no missing kind: the others do not wait."""
    cluster.fail("create", "policyreports", problem)
    assert await controller.settle(found(p="pass", fresh=True)) == [Outcome.OBJECT_GONE]
    assert caplog.text == ""


async def test_kinds_that_may_not_be_read_are_named_once(cluster, controller, caplog) -> None:
    """With the rule to add; asked again after a minute, not for every object."""
    cluster.fail("get", "pods", NO_RIGHT)
    for _ in range(3):
        await controller.settle(found(p="pass"))
    assert controller.outcomes == [Outcome.NOT_PERMITTED] * 3
    assert cluster.verbs() == [("get", "pods")]
    assert caplog.text.count("aggregate-to-reports: 'true'") == 1
    controller.now += 61
    assert (await controller.settle(found(p="pass")))[-1] is Outcome.WRITTEN


async def test_each_object_is_a_trace_of_its_own(cluster, controller, exported) -> None:
    """A root span with the object, its outcome and links to the requests behind it."""
    await controller.settle(found(p="pass", fresh=True, requests=(REQUEST,)))
    (span,) = exported.get_finished_spans()
    assert (span.name, span.kind, span.parent) == ("REPORTS write", SpanKind.INTERNAL, None)
    assert [link.context for link in span.links] == [REQUEST]
    assert dict(span.attributes) == {
        "kymograph.object.group": "",
        "kymograph.object.kind": "Pod",
        "kymograph.object.namespace": "shop",
        "kymograph.object.name": "web",
        "kymograph.object.uid": "uid-web",
        "kymograph.report.outcome": "written",
    }


async def test_a_failed_try_is_an_error_in_its_trace(cluster, controller, exported) -> None:
    """And the next try is another trace."""
    cluster.fail("create", "policyreports", errors.StatusError(500, "InternalError", "etcd"))
    await controller.settle(found(p="pass"))
    failed, done = exported.get_finished_spans()
    assert (failed.status.status_code, done.status.status_code) == (StatusCode.ERROR, StatusCode.UNSET)
    assert "etcd" in failed.status.description


async def test_a_defect_costs_one_report(cluster, controller, caplog) -> None:
    """Whatever one stored report holds must not stop all others."""
    cluster.objects["policyreports", "shop", POD.uid] = {"metadata": {}, "results": 7}
    assert await controller.settle(found(p="pass")) == [Outcome.FAILED]
    assert "defect" in caplog.text


async def test_a_burst_is_written_at_its_pace(cluster, store, exported, monkeypatch) -> None:
    """Five hundred objects: no faster than the pace, never more than the workers at once."""
    monkeypatch.setattr(pace, "FIRST", pace.MOST)
    burst = Controller(cluster, store, exported)
    for number in range(500):
        cluster.put("pods", "shop", f"web-{number}", uid=f"uid-{number}")
    objects = [
        found(subject=POD._replace(name=f"web-{number}", uid=f"uid-{number}"), p="pass", fresh=True)
        for number in range(500)
    ]
    loop = asyncio.get_running_loop()
    began = loop.time()
    most = 0

    def look(controller) -> bool:
        nonlocal most
        most = max(most, len(controller.work._worked_on))
        return controller.work.idle

    assert await burst.settle(*objects, until=look) == [Outcome.WRITTEN] * 500
    assert loop.time() - began >= 499 / pace.MOST
    assert 0 < most <= writer.WORKERS


async def test_the_queue_is_empty_only_when_all_is_written(cluster, controller) -> None:
    """What a stop waits for."""
    controller.work.put(found(p="pass"))
    assert not controller.work.idle
    work: queue.Work = await controller.work.take()
    assert not controller.work.idle
    controller.work.done(work)
    assert controller.work.idle
