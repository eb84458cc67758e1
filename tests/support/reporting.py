"""Policies with results, a cluster in memory, and a reports controller that works on it."""

import asyncio
import copy
import functools
import itertools

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from kymograph.clients.kubernetes import discovery, errors
from kymograph.controllers.reports import confirmation, findings, forms, kinds, permissions, queue, reported, writer
from kymograph.engine import compile as compiler
from kymograph.engine import evaluate
from kymograph.telemetry import cells, instruments, work
from kymograph.telemetry.sampling import Decision

UNTRACED = Decision(trace_id=1, span_id=2, sampled=False, recorded=False)
TRACED = Decision(trace_id=0xABC, span_id=0xDEF, sampled=True, recorded=True)
POD = findings.Subject("", "v1", "Pod", "shop", "web", "uid-web")
FOUND_AT = 1_709_294_400_000_000_007


def policy_document(name="p", rules=("r",), namespace="", annotations=None, labels=None, version=1):
    """A policy with one denying rule for each name; namespaced where a namespace is given."""
    return {
        "apiVersion": "kyverno.io/v1",
        "kind": "Policy" if namespace else "ClusterPolicy",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{name}",
            "resourceVersion": str(version),
            "generation": version,
            "annotations": annotations or {},
            "labels": labels or {},
        },
        "spec": {
            "rules": [
                {
                    "name": rule,
                    "match": {"any": [{"resources": {"kinds": ["ConfigMap"]}}]},
                    "validate": {"message": "no", "deny": {}},
                }
                for rule in rules
            ]
        },
    }


def compiled(**described):
    return compiler.compile_policy(policy_document(**described))


def result_of(policy, status="pass", text="fine", **properties):
    """The result of a policy whose rules all ended alike."""
    rules = tuple(
        evaluate.RuleResult(rule, status, text, "Audit", 0, 1, properties, None) for rule in policy.validate.written
    )
    return evaluate.PolicyResult(policy, "Audit", rules)


def row(policy="p", rule="r", result="pass", at=1, **more):
    """An entry of a report as we write it."""
    return {
        "source": findings.SOURCE,
        "policy": policy,
        "rule": rule,
        "result": result,
        "message": "fine",
        "scored": True,
        "timestamp": {"seconds": at, "nanos": 0},
        "properties": dict(findings.BACKGROUND),
        **more,
    }


@functools.cache
def _compiled(key):
    namespace, _, name = key.rpartition("/")
    return compiled(name=name, namespace=namespace)


def says(at=FOUND_AT, **results):
    """What policies found, each by its one rule `r`."""
    return {
        key: findings.Found(result_of(_compiled(key), result) if result else None, at)
        for key, result in results.items()
    }


def found(subject=POD, plural="pods", **latest):
    """Findings: the result of each policy, empty for none, and other fields by their names."""
    more = {key: latest.pop(key) for key in ("replaces", "fresh", "requests", "settled") if key in latest}
    return findings.Findings(
        subject,
        plural,
        says(**latest),
        **more,
    )


class FakeCluster:
    """Objects in memory, with resourceVersions; what is asked is written down, and errors can be had for the asking."""

    def __init__(self):
        self.objects = {}
        self.calls = []
        self.merged = []
        self.trouble = {}
        self._versions = itertools.count(100)

    def put(self, plural, namespace, name, **metadata):
        self.objects[plural, namespace, name] = {
            "metadata": {"name": name, "namespace": namespace, "resourceVersion": str(next(self._versions)), **metadata}
        }

    def fail(self, verb, plural, *raised):
        """Raise these, one a call; the last one for good where it is an ellipsis' neighbour."""
        self.trouble[verb, plural] = list(raised)

    def report(self, subject=POD):
        plural = forms.POLICY_REPORTS.resource(subject.namespace).plural
        return self.objects.get((plural, subject.namespace, subject.uid))

    def verbs(self):
        return [call[:2] for call in self.calls]

    async def get(self, resource, name, *, namespace="", metadata_only=False):
        await self._called("get", resource, name)
        return copy.deepcopy(self._existing(resource, namespace, name))

    async def create(self, resource, document, *, namespace="", metadata_only=False):
        name = document["metadata"]["name"]
        await self._called("create", resource, name)
        if (resource.plural, namespace, name) in self.objects:
            raise errors.Conflict(409, "AlreadyExists", f"{name} already exists")
        return self._store(resource, namespace, document, uid=f"report-of-{name}")

    async def apply(self, resource, document, *, namespace="", subresource="", metadata_only=False):
        await self._called("apply", resource, document["metadata"]["name"])
        stored = self._existing(resource, namespace, document["metadata"]["name"])
        if document["metadata"]["resourceVersion"] != stored["metadata"]["resourceVersion"]:
            raise errors.Conflict(409, "Conflict", "the object has been modified")
        return self._store(resource, namespace, document, uid=stored["metadata"]["uid"])

    async def merge(self, resource, name, patch, *, namespace="", subresource=""):
        await self._called("merge", resource, name)
        self.merged.append((resource.plural, name, subresource, patch))

    async def delete(self, resource, name, *, namespace="", uid=None, resource_version=None, **_):
        await self._called("delete", resource, name)
        metadata = self._existing(resource, namespace, name)["metadata"]
        assert metadata["uid"] == uid
        if resource_version not in (None, metadata.get("resourceVersion")):
            raise errors.Conflict(409, "Conflict", "the object has been modified")
        del self.objects[resource.plural, namespace, name]

    async def pages(self, resource, *, namespace="", label_selector="", metadata_only=False):
        await self._called("list", resource, label_selector)
        for key, stored in list(self.objects.items()):
            if key[0] == resource.plural:
                yield {"items": [copy.deepcopy(stored)]}

    async def _called(self, verb, resource, name):
        await asyncio.sleep(0)
        self.calls.append((verb, resource.plural, name))
        trouble = self.trouble.get((verb, resource.plural))
        if trouble:
            problem = trouble.pop(0)
            if callable(problem) and not isinstance(problem, Exception):
                problem()
            elif problem is not None:
                raise problem

    def _existing(self, resource, namespace, name):
        try:
            return self.objects[resource.plural, namespace, name]
        except KeyError:
            raise errors.NotFound(404, "NotFound", f"{resource.plural} {name!r} not found") from None

    def _store(self, resource, namespace, document, uid):
        stored = copy.deepcopy(dict(document))
        stored["metadata"] |= {"uid": uid, "resourceVersion": str(next(self._versions))}
        self.objects[resource.plural, namespace, stored["metadata"]["name"]] = stored
        return stored


class FakeCatalogues:
    """What the API server serves; what it will serve after the next look can be set."""

    def __init__(self, *served):
        self.current = discovery.Catalogue(served)
        self.next = self.current
        self.refreshed = 0

    async def refresh(self):
        self.refreshed += 1
        self.current = self.next
        return self.current


def served(group, version, plural, kind, *, namespaced=True, verbs=("get", "list", "watch")):
    return discovery.Served(group, version, plural, kind, "", namespaced, frozenset(verbs))


class Controller:
    """The writer and what belongs to it, run until nothing is left to do."""

    def __init__(self, cluster, store, exported):
        self.now = 0.0
        self.catalogues = FakeCatalogues(
            served("", "v1", "pods", "Pod"), served("", "v1", "nodes", "Node", namespaced=False)
        )
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exported))
        self.work = queue.WorkQueue()
        self.reported = reported.ReportedPolicies(
            store, cluster, self.work, forms.POLICY_REPORTS, provider.get_tracer("test")
        )
        self.outcomes = []
        self.writer = writer.ReportWriter(
            cluster,
            kinds.Kinds(self.catalogues, lambda: self.now),
            permissions.Permissions(lambda: self.now),
            self.work,
            self.reported,
            confirmation.Confirmation(cluster, store, lambda: 0),
            provider.get_tracer("test"),
            self.outcomes.append,
            work.Work(instruments.declare(cells.Cells(InstrumentationScope("test"), lambda: 0)), "reports"),
        )

    async def settle(self, *given, until=lambda controller: controller.work.idle):
        """Have findings written; what became of each object."""
        for each in given:
            self.work.put(each)
        running = asyncio.create_task(self.writer.run())
        try:
            async with asyncio.timeout(60):
                while not until(self):  # noqa: ASYNC110  # looks at anything
                    await asyncio.sleep(0.001)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        return self.outcomes
