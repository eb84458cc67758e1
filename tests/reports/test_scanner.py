"""What is scanned when, and what of it is news."""

import asyncio
import logging
import pathlib

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

from kymograph.clients.kubernetes import discovery, errors
from kymograph.controllers import policies
from kymograph.controllers.reports import findings
from kymograph.controllers.reports.scans import (
    changes,
    index,
    judging,
    policystatus,
    scanner,
)
from kymograph.engine import exceptions, needs
from support import trees
from support.reporting import served
from support.scanning import NoFacts, ScannedCluster, World, a_policy, an_exception, report, selecting

FORBIDDEN = errors.Forbidden(403, "Forbidden", 'leases is forbidden: User "u" cannot list resource "leases"')


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(scanner, "SETTLE", 0.0)
    monkeypatch.setattr(scanner, "RETRY_AFTER", 0.0)
    monkeypatch.setattr(scanner, "PAGES_PER_SECOND", 1e6)
    monkeypatch.setattr(scanner, "CHANGED_PER_SECOND", 1e6)
    monkeypatch.setattr(changes, "SETTLE", 0.0)


@pytest.fixture
def cluster():
    """Three ConfigMaps and a Service."""
    made = ScannedCluster()
    for name in ("a", "b", "c"):
        made.put("configmaps", "shop", name)
    made.put("services", "shop", "s")
    return made


async def test_everything_that_policies_may_concern_is_scanned_at_the_start(cluster) -> None:
    """Once each, page by page, with what was read standing for the object; nothing else is listed."""
    world = World(cluster, a_policy())
    async with world.at_work():
        await world.scanned()
    assert world.results() == [(name, {"p": ["fail"]}) for name in ("a", "b", "c")]
    assert all(each.fresh and each.proven and each.plural == "configmaps" for each in world.put)
    assert world.told == ["a", "b", "c"]
    assert ("list", "services") not in cluster.verbs()


async def test_reports_that_say_it_already_are_neither_read_nor_written(cluster) -> None:
    """They are listed once; one that says something else is news, and not fresh."""
    cluster.report_on("a", p="fail")
    cluster.report_on("b", p="pass")
    world = World(cluster, a_policy())
    async with world.at_work():
        await world.scanned()
    assert [(each.subject.name, each.fresh) for each in world.put] == [("b", False), ("c", True)]
    assert world.told == ["b", "c"]
    assert "get" not in {verb for verb, _ in cluster.verbs()}


async def test_only_what_changed_is_asked_again(cluster) -> None:
    """A new policy is asked about the kinds that it matches; the others are left in peace."""
    world = World(cluster, a_policy())
    async with world.at_work():
        await world.scanned()
        world.put.clear()
        cluster.calls.clear()
        world.store.put(a_policy("q", "Service"))
        await world.until(lambda: world.put)
    assert world.results() == [("s", {"q": ["fail"]})]
    assert ("list", "configmaps") not in cluster.verbs()


async def test_results_of_a_kind_that_is_no_longer_matched_go(cluster) -> None:
    """The report is told that the policy has nothing to say, without the object being read."""
    cluster.report_on("a", p="fail")
    world = World(cluster, a_policy(kind="Service"))
    async with world.at_work():
        await world.scanned()
    assert world.results() == [("a", {"p": []}), ("s", {"p": ["fail"]})]
    assert world.put[0].plural == ""


async def test_an_object_that_changes_is_looked_at_again(cluster) -> None:
    """By all policies of its kind; one whose content is the same is not."""
    world = World(cluster, a_policy(), a_policy("q"))
    async with world.at_work():
        await world.scanned()
        world.put.clear()
        await world.until(lambda: "configmaps" in cluster.events)
        cluster.put("configmaps", "shop", "a")
        await world.until(lambda: ("get", "configmaps", "a") in cluster.calls)
        cluster.put("configmaps", "shop", "b", labels={"x": "y"})
        await world.until(lambda: world.put)
    assert world.results() == [("b", {"p": ["fail"], "q": ["fail"]})]
    assert world.put[0].proven
    assert not world.put[0].fresh


async def test_a_kind_that_may_not_be_listed_is_said_once(cluster, caplog) -> None:
    """And is not asked for again with every change; the others are scanned."""
    cluster.fail("list", "leases", FORBIDDEN, FORBIDDEN, FORBIDDEN)
    world = World(cluster, a_policy(), a_policy("l", "Lease"))
    with caplog.at_level(logging.WARNING):
        async with world.at_work():
            await world.scanned()
            assert len(world.put) == 3
            world.store.put(a_policy("q", "Service"))
            await world.until(lambda: len(world.put) == 4)
    states = {each["kind"]: each["state"] for each in world.progress.document()["resources"]}
    assert states == {"ConfigMap": "scanned", "Lease": "forbidden", "Service": "scanned"}
    assert cluster.verbs().count(("list", "leases")) == 1
    assert caplog.text.count("Objects of kind Lease get no report") == 1


async def test_a_scan_that_was_broken_off_is_begun_again(cluster, caplog) -> None:
    """Whatever the API server did; nothing that had changed meanwhile is forgotten."""
    cluster.fail("list", "configmaps", errors.Throttled(429, "", "no time"), errors.Unreachable("away"))
    world = World(cluster, a_policy())
    async with world.at_work():
        await world.scanned()
    assert {name for name, _ in world.results()} == {"a", "b", "c"}
    assert caplog.text.count("broken off") == 2


async def test_policies_whose_exceptions_changed_are_asked_again(cluster) -> None:
    """And only those."""
    world = World(cluster, a_policy(), a_policy("q", "Service"))
    async with world.at_work():
        await world.scanned()
        world.put.clear()
        world.excepted = exceptions.Exceptions([an_exception()])
        world.changes.exceptions_changed()
        await world.until(lambda: len(world.put) == 3)
    assert world.results() == [(name, {"p": ["skip"]}) for name in ("a", "b", "c")]


@pytest.mark.parametrize("background", [True, False])
async def test_exceptions_that_are_not_for_scans_do_not_count(cluster, background) -> None:
    """`background: false`."""
    world = World(cluster, a_policy())
    world.excepted = exceptions.Exceptions([an_exception(background=background)])
    async with world.at_work():
        await world.scanned()
    assert world.results()[0] == ("a", {"p": ["skip" if background else "fail"]})


async def test_a_labelled_object_loses_its_report(cluster) -> None:
    """One that has none is let be."""
    for name in ("a", "b"):
        cluster.put("configmaps", "shop", name, labels={"reports.kyverno.io/disabled": ""})
    cluster.report_on("a", p="fail")
    world = World(cluster, a_policy())
    async with world.at_work():
        await world.scanned()
    assert [(each.subject.name, each.proven) for each in world.put] == [("a", False), ("c", True)]
    assert world.told == ["c"]


async def test_an_object_that_is_filtered_out_loses_what_scans_said_of_it(cluster) -> None:
    """`--skip-resource-filters=false`: no policy is asked about it."""
    cluster.report_on("a", p="fail")
    world = World(cluster, a_policy())
    world.left_out = {"a", "b"}
    async with world.at_work():
        await world.scanned()
    assert world.results() == [("a", {"p": []}), ("c", {"p": ["fail"]})]
    assert world.told == ["c"]


async def test_a_kind_that_comes_later_is_scanned(cluster) -> None:
    """When its definition is installed."""
    world = World(cluster, a_policy("w", "Widget"))
    cluster.put("widgets", "shop", "one")
    async with world.at_work():
        await world.until(lambda: world.catalogues.refreshed)
        world.catalogues.next = type(world.catalogues.current)((served("example.com", "v1", "widgets", "Widget"),))
        world.changes.kinds_changed()
        await world.until(lambda: world.put)
    assert world.results() == [("one", {"w": ["fail"]})]


async def test_what_contexts_ask_for_is_asked_once_for_a_page() -> None:
    """And told to every evaluation of it."""
    document = a_policy()
    rule = document["spec"]["rules"][0]
    rule["context"] = [{"name": "limits", "configMap": {"name": "limits", "namespace": "shop"}}]
    rule["validate"] = {"message": "{{ limits.data.team }}", "deny": {}}
    asked = []

    class Asked(NoFacts):
        async def fetch(self, need, facts):
            asked.append(need)
            await super().fetch(need, facts)

    store = policies.PolicyStore()
    store.put(document)
    judge = judging.Judge(Asked(), lambda: 0, lambda: exceptions.NONE)
    known = needs.Facts()
    for name in ("a", "b"):
        request = {
            "uid": "",
            "kind": {"group": "", "version": "v1", "kind": "ConfigMap"},
            "resource": {"group": "", "version": "v1", "resource": "configmaps"},
            "namespace": "shop",
            "operation": "CREATE",
            "object": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop"}},
        }
        (result,) = await judge.judge(store.policies.policies, request, known)
        assert result.rules[0].message == "blue"
    assert asked == [needs.ConfigMap("shop", "limits")]


async def test_objects_of_a_namespace_with_other_labels_are_looked_at_again(cluster) -> None:
    """Only there, and only for the policies that look at labels of namespaces."""
    cluster.put("configmaps", "other", "d")
    world = World(cluster, selecting(), a_policy("q", "Service"), a_policy("r"))
    for name in ("shop", "other"):
        world.changes.namespace_changed(name, {})
    async with world.at_work():
        await world.scanned()
        world.put.clear()
        cluster.calls.clear()
        world.labels["shop"] = {"checked": "yes"}
        world.changes.namespace_changed("shop", {"checked": "yes"})
        await world.until(lambda: len(world.put) == 3)
    assert world.results() == [(name, {"p": ["fail"]}) for name in ("a", "b", "c")]
    assert ("list", "configmaps", "shop") in cluster.calls
    assert ("list", "services") not in cluster.verbs()


async def test_many_namespaces_with_other_labels_are_looked_at_together(cluster, monkeypatch) -> None:
    """One list of all objects is less than a list for each of them."""
    monkeypatch.setattr(scanner, "MOST_NAMESPACES", 1)
    world = World(cluster, selecting())
    for name in ("shop", "other"):
        world.changes.namespace_changed(name, {})
    async with world.at_work():
        await world.scanned()
        world.put.clear()
        cluster.calls.clear()
        for name in ("shop", "other"):
            world.labels[name] = {"checked": "yes"}
            world.changes.namespace_changed(name, {"checked": "yes"})
        await world.until(lambda: len(world.put) == 3)
    assert [call for call in cluster.calls if call[1] == "configmaps" and call[0] == "list"] == [
        ("list", "configmaps", "")
    ]


async def test_a_scan_for_one_policy_hides_no_change_from_the_others(cluster) -> None:
    """An object that has just changed is read by a scan for `q`: `p` is asked about it all the same."""
    world = World(cluster, a_policy(), a_policy("q"))
    async with world.at_work():
        await world.scanned()
        await world.until(lambda: "configmaps" in cluster.events)
        world.put.clear()
        cluster.put("configmaps", "shop", "a", labels={"team": "x"})
        world.store.put(a_policy("q", version=2))
        await world.until(lambda: any(each.subject.name == "a" and "p" in each.latest for each in world.put))


@pytest.mark.parametrize("labels", [{}, {"labels": {"team": "x"}}], ids=["same content", "other content"])
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
async def test_a_change_during_a_scan_hides_the_object_from_no_policy(cluster, labels, busy) -> None:
    """Who follows changes asks the scan's policies of a version newer than the listed one.

    Whether or not its content is another one, and though others that changed are being looked at since before the scan.
    """
    world = World(cluster, a_policy())
    scanned, pages, get = asyncio.Event(), cluster.pages, cluster.get

    async def pages_that_grow_old(resource, **asked):
        async for page in pages(resource, **asked):
            if resource.plural == "configmaps" and "a" in [each["metadata"]["name"] for each in page["items"]]:
                cluster.put("configmaps", "shop", "a", **labels)
                await world.until(lambda: cluster.events["configmaps"].empty() and world.scanner.depth)
            yield page

    async def get_after_the_scan(resource, name, **asked):
        await scanned.wait()
        return await get(resource, name, **asked)

    async with world.at_work():
        await world.scanned()
        await world.until(lambda: "configmaps" in cluster.events)
        cluster.pages, cluster.get = pages_that_grow_old, get_after_the_scan
        if busy:
            for name in ("b", "a"):
                cluster.put("configmaps", "shop", name, labels={"team": "before"})
            await world.until(lambda: world.scanner.depth == 2)
        world.put.clear()
        world.store.put(a_policy("q"))
        await world.until(lambda: any("q" in each.latest for each in world.put))
        await world.scanned()
        scanned.set()
        await world.until(lambda: any(each.subject.name == "a" and "q" in each.latest for each in world.put))


async def test_an_object_that_changes_while_it_is_read_is_read_again(cluster) -> None:
    """What was read is an older version than the watch has told of by then."""
    world = World(cluster, a_policy())
    get = cluster.get

    async def get_too_early(resource, name, **asked):
        cluster.get = get
        read = await get(resource, name, **asked)
        cluster.put("configmaps", "shop", name, labels={"team": "after"})
        await world.until(cluster.events["configmaps"].empty)
        await asyncio.sleep(0)
        return read

    async with world.at_work():
        await world.scanned()
        await world.until(lambda: "configmaps" in cluster.events)
        cluster.get = get_too_early
        cluster.put("configmaps", "shop", "a", labels={"team": "before"})
        await world.until(lambda: cluster.calls.count(("get", "configmaps", "a")) == 2)
        await world.until(lambda: not world.scanner.depth)


async def test_each_policy_tells_of_its_scan_in_its_status(cluster, monkeypatch) -> None:
    """Beside the fields of Kyverno; once, when it is over, with how many objects there were."""
    monkeypatch.setattr(policystatus, "PUBLISH_EVERY", 0.0)
    quiet = a_policy("quiet")
    quiet["spec"]["background"] = False
    world = World(cluster, a_policy(), quiet)
    async with world.at_work():
        await world.scanned()
        await world.until(lambda: cluster.merged and cluster.merged[-1][3]["status"]["scan"]["finishedAt"])
    plural, name, subresource, patch = cluster.merged[-1]
    assert (plural, name, subresource) == ("clusterpolicies", "p", "status")
    assert patch["metadata"] == {"uid": "uid-p"}
    at = "2026-03-01T00:00:00Z"
    assert patch["status"] == {"scan": {"startedAt": at, "finishedAt": at, "objects": 3}}


@pytest.mark.parametrize("rate", [0.0, 1.0])
async def test_what_policies_say_of_an_object_is_in_the_trace_of_the_scan(cluster, rate) -> None:
    """Below the batch, for objects that are news; nothing of it where the trace is not kept."""
    exported = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False, sampler=TraceIdRatioBased(rate))
    provider.add_span_processor(SimpleSpanProcessor(exported))
    cluster.report_on("b", p="fail")
    world = World(cluster, a_policy(), tracer=provider.get_tracer("test"))
    async with world.at_work():
        await world.scanned()
    spans = exported.get_finished_spans()
    if not rate:
        assert not spans
        return
    names = {each.context.span_id: each.name for each in spans}
    of_objects = [each for each in spans if each.name == "SCAN object"]
    assert [each.attributes["kymograph.object.name"] for each in of_objects] == ["a", "c"]
    assert {names[each.parent.span_id] for each in of_objects} == {"SCAN batch"}
    (rule, *_) = (each for each in spans if each.name == "RULE r")
    assert names[rule.parent.span_id] == "POLICY p"
    assert rule.attributes["kymograph.rule.result"] == "fail"


def test_an_odd_report_is_written_again() -> None:
    """One whose summary is wrong, or that is not ours, though its results are right."""
    found = report("a", p="pass")
    sound, odd = index.ReportIndex({"p"}, _judged), index.ReportIndex({"p"}, _judged)
    sound.add(found)
    odd.add({**found, "summary": {}})
    silent = {"p": findings.Found(None, 0)}
    none = index.ReportIndex({"p"}, _judged)
    none.add(report("a", other="pass"))
    assert none.says("uid-a", silent)
    assert not sound.says("uid-a", silent)
    assert not odd.says("uid-a", silent)
    assert none.says("uid-without", silent)


def _judged(_policy, _rule):
    return "validate"


async def test_the_tree_of_a_scan(cluster, exported, tracer) -> None:
    """See `scan.tree`; what is served was asked for before it, in a trace of its own."""
    world = World(cluster, a_policy(), tracer=tracer)
    async with world.at_work():
        await world.scanned()
    compiled, *spans = exported.get_finished_spans()
    assert compiled.name == "ADMISSION policy compilation"
    assert (spans[0].name, spans[0].parent) == ("SCAN discovery", None)
    trees.compare(pathlib.Path(__file__).with_name("scan.tree"), trees.below(spans, "SCAN ConfigMap"))


async def test_what_is_in_a_secret_is_not_told_of_by_a_scan(cluster, exported, tracer) -> None:
    """Neither in its report nor in the trace, whatever the policy quotes."""
    quoting = a_policy(kind="Secret")
    quoting["spec"]["rules"][0]["validate"]["message"] = "{{ base64_decode(request.object.data.password) }} is weak"
    world = World(cluster, quoting, tracer=tracer)
    world.catalogues.current = world.catalogues.next = discovery.Catalogue((served("", "v1", "secrets", "Secret"),))
    cluster.put("secrets", "shop", "s")
    cluster.objects["secrets", "shop", "s"]["data"] = {"password": "aHVudGVyMg=="}
    async with world.at_work():
        await world.scanned()
    (found,) = world.put
    messages = [rule.message for each in found.latest.values() for rule in each.result.rules]
    assert messages == ["[redacted] is weak"]
    spans = "".join(span.to_json() for span in exported.get_finished_spans())
    assert "[redacted] is weak" in spans
    assert "hunter2" not in spans
