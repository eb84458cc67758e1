"""A scanner at work on a cluster that is made up, for tests of what is scanned when."""

import asyncio
import contextlib
import copy
import datetime as dt

from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NoOpTracer

from kymograph.controllers import policies, policytraces
from kymograph.controllers.reports import document, findings, forms, permissions, reported
from kymograph.controllers.reports.scans import changes, examining, judging, policystatus, progress, scanner, tracing
from kymograph.controllers.reports.scans.metrics import ScanMetrics
from kymograph.engine import exceptions, needs
from kymograph.engine.watching import Step
from kymograph.telemetry import cells, instruments
from support.reporting import FakeCatalogues, FakeCluster, policy_document, served


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
        traced = tracer or NoOpTracer()
        compiled = policytraces.Compilations(self.store, traced)
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
        self.progress = progress.Progress(
            cluster, "kymograph", lambda: dt.datetime.now(dt.UTC), lambda: 0.0, tracer or NoOpTracer()
        )
        self.labels = {}
        self.left_out = set()
        judge = judging.Judge(NoFacts(self.labels), lambda: 0, lambda: self.excepted)
        self.statuses = policystatus.PolicyScans(
            cluster, self.store, lambda: dt.datetime(2026, 3, 1, tzinfo=dt.UTC), traced, compiled.of
        )
        traces = tracing.Traces(traced, _describe, lambda: 0, lambda: 5, compiled.of_keys)
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
            async with asyncio.timeout(60):
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


def selecting(name="p"):
    """A policy on the ConfigMaps of namespaces that are labelled so."""
    made = a_policy(name)
    (entry,) = made["spec"]["rules"][0]["match"]["any"]
    entry["resources"]["namespaceSelector"] = {"matchLabels": {"checked": "yes"}}
    return made


def an_exception(background=True):
    """An exception from every rule of the policy `p`."""
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
