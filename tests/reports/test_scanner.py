"""What is scanned when, and what of it is news."""

import asyncio
import contextlib
import copy
import datetime as dt
import logging

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NoOpTracer

from kymograph.clients.kubernetes import errors
from kymograph.controllers import policies
from kymograph.controllers.reports import document, findings, forms, permissions, reported
from kymograph.controllers.reports.scans import (
    changes,
    examining,
    index,
    judging,
    policystatus,
    progress,
    scanner,
    tracing,
)
from kymograph.controllers.reports.scans.metrics import ScanMetrics
from kymograph.engine import exceptions, needs
from kymograph.engine.watching import Step
from kymograph.telemetry import cells, instruments
from support.reporting import FakeCatalogues, FakeCluster, policy_document, served

FORBIDDEN = errors.Forbidden(403, "Forbidden", 'leases is forbidden: User "u" cannot list resource "leases"')


class ScannedCluster(FakeCluster):
    """Objects by collection, listed in pages of two, and watches that tell of changes."""

    def __init__(self):
        super().__init__()
        self.events = {}

    def put(self, plural, namespace, name, **metadata):
        super().put(plural, namespace, name, **{"uid": f"uid-{name}", **metadata})
        stored = self.objects[plural, namespace, name]
        if plural in self.events:
            self.events[plural].put_nowait({"type": "MODIFIED", "object": copy.deepcopy(stored)})

    def report_on(self, name, **results):
        """A report as the operator writes it, with the result of each policy."""
        self.objects["policyreports", "shop", f"uid-{name}"] = report(name, **results)

    async def pages(self, resource, *, namespace="", label_selector="", metadata_only=False, **_):
        await self._called("watched" if metadata_only else "list", resource, namespace or label_selector)
        items = [
            copy.deepcopy(each)
            for key, each in self.objects.items()
            if key[0] == resource.plural and (not namespace or key[1] == namespace)
        ]
        for start in range(0, max(len(items), 1), 2):
            left = len(items) - start - 2
            yield {
                "metadata": {"resourceVersion": "1", "remainingItemCount": max(left, 0)},
                "items": items[start : start + 2],
            }

    async def watch(self, resource, resource_version, **_):
        queue = self.events.setdefault(resource.plural, asyncio.Queue())
        while True:
            yield await queue.get()


def _describe(step, subject):
    return f"{Step(step).name} {getattr(subject, 'name', '')}".strip(), {}


class NoFacts:
    """What policies may know: the labels of namespaces, and one ConfigMap."""

    def __init__(self, labels=None):
        self.labels = {} if labels is None else labels

    def at_hand(self, need, facts):
        if isinstance(need, needs.NamespaceLabels):
            facts.add(need, self.labels.get(need.namespace, {}))
            return True
        return False

    async def fetch(self, need, facts):
        facts.add(need, {"metadata": {}, "data": {"team": "blue"}})


def a_policy(name="p", kind="ConfigMap", version=1, deny=True, **described):
    made = policy_document(name=name, version=version, **described)
    made["spec"]["rules"][0]["match"] = {"any": [{"resources": {"kinds": [kind]}}]}
    if not deny:
        made["spec"]["rules"][0]["validate"] = {"message": "no", "pattern": {"metadata": {"name": "?*"}}}
    return made


def report(name, **results):
    """The stored report on a ConfigMap."""
    subject = findings.Subject("", "v1", "ConfigMap", "shop", name, f"uid-{name}")
    rows = [
        {
            "source": "kyverno",
            "policy": policy,
            "rule": "r",
            "result": result,
            "message": "no" if result == "fail" else "validation rule 'r' passed.",
            "scored": True,
            "timestamp": {"seconds": 1, "nanos": 0},
            "properties": {"process": "background scan"},
        }
        for policy, result in results.items()
    ]
    scope = {"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": subject.uid, "namespace": "shop"}
    return {
        "metadata": {
            "name": subject.uid,
            "namespace": "shop",
            "labels": dict([document.MANAGED_BY]),
            "resourceVersion": "1",
            "uid": "r",
        },
        "scope": scope,
        "results": rows,
        "summary": document.summary(rows),
    }


class World:
    """A scanner at work; what it puts is written down."""

    def __init__(self, cluster, *documents, tracer=None):
        self.cluster = cluster
        self.store = policies.PolicyStore()
        for each in documents:
            self.store.put(each)
        self.store.complete.set()
        self.catalogues = FakeCatalogues(
            served("", "v1", "configmaps", "ConfigMap"),
            served("", "v1", "services", "Service"),
            served("coordination.k8s.io", "v1", "leases", "Lease"),
        )
        self.excepted = exceptions.NONE
        self.put = []
        self.told = []
        self.changes = changes.Changes(self.store, lambda: self.excepted)
        made = instruments.declare(cells.Cells(InstrumentationScope("test"), lambda: 0))
        metrics = ScanMetrics(made, self.store)
        known = reported.ReportedPolicies(self.store, cluster, None)
        self.progress = progress.Progress(cluster, "kymograph", lambda: dt.datetime.now(dt.UTC), lambda: 0.0)
        self.labels = {}
        self.left_out = set()
        judge = judging.Judge(NoFacts(self.labels), lambda: 0, lambda: self.excepted)
        self.statuses = policystatus.PolicyScans(cluster, self.store, lambda: dt.datetime(2026, 3, 1, tzinfo=dt.UTC))
        traces = tracing.Traces(tracer or NoOpTracer(), _describe, lambda: 0, lambda: 5)
        self.scanner = scanner.Scanner(
            scanner.Means(
                client=cluster,
                catalogues=self.catalogues,
                store=self.store,
                changes=self.changes,
                examiner=examining.Examiner(
                    judge,
                    self.put.append,
                    metrics,
                    lambda subject, results: self.told.append(subject.name),
                    traces,
                    lambda subject: subject.name in self.left_out,
                ),
                put=self.put.append,
                room=self._room,
                form=forms.POLICY_REPORTS,
                reported=known,
                permitted=permissions.Permissions(lambda: 0.0),
                metrics=metrics,
                progress=self.progress,
                statuses=self.statuses,
                traces=traces,
                clock=lambda: 0,
                wall_clock=lambda: 5,
                interval=3600.0,
            )
        )

    async def _room(self):
        """There is always room."""

    @contextlib.asynccontextmanager
    async def at_work(self):
        task = asyncio.create_task(self.scanner.run())
        try:
            async with asyncio.timeout(10):
                yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, look):
        while not look():  # noqa: ASYNC110  # looks at anything
            await asyncio.sleep(0.001)

    async def scanned(self):
        await self.until(lambda: self.progress.document()["finishedAt"])

    def results(self):
        """What was put: the results of each policy by the object's name, the latest last."""
        return [
            (
                each.subject.name,
                {
                    key: [rule.status for rule in found.result.rules] if found.result else []
                    for key, found in each.latest.items()
                },
            )
            for each in self.put
        ]


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
    cluster.fail("list", "configmaps", errors.Expired(410, "Expired", "too old"), errors.Unreachable("away"))
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
        world.excepted = exceptions.Exceptions([_exception()])
        world.changes.exceptions_changed()
        await world.until(lambda: len(world.put) == 3)
    assert world.results() == [(name, {"p": ["skip"]}) for name in ("a", "b", "c")]


@pytest.mark.parametrize("background", [True, False])
async def test_exceptions_that_are_not_for_scans_do_not_count(cluster, background) -> None:
    """`background: false`."""
    world = World(cluster, a_policy())
    world.excepted = exceptions.Exceptions([_exception(background=background)])
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


def selecting(name="p"):
    """A policy on the ConfigMaps of namespaces that are labelled so."""
    made = a_policy(name)
    (entry,) = made["spec"]["rules"][0]["match"]["any"]
    entry["resources"]["namespaceSelector"] = {"matchLabels": {"checked": "yes"}}
    return made


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


def _exception(background=True):
    return exceptions.compile_exception(
        {
            "apiVersion": "kyverno.io/v2",
            "kind": "PolicyException",
            "metadata": {"name": "e", "namespace": "kymograph"},
            "spec": {
                "background": background,
                "exceptions": [{"policyName": "p", "ruleNames": ["*"]}],
                "match": {"any": [{"resources": {"kinds": ["ConfigMap"]}}]},
            },
        }
    )
