"""The gauge of what reports say: true to the reports, whoever writes them; a replica that does not lead is silent."""

import asyncio
import contextlib

import pytest
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from fakes import collection
from kymograph.clients.kubernetes import errors
from kymograph.controllers import policies
from kymograph.controllers.reports import forms, reported, standing
from kymograph.telemetry import cells, instruments, metricsettings
from support.reporting import FakeCluster, policy_document, row

LABELS = ("policy_type", "policy_namespace", "policy_name", "rule_name", "rule_result")


class Source:
    """The reports of a cluster: one collection of those in namespaces, one of the others."""

    def __init__(self):
        self.of = {each.plural: collection.Collection() for each in forms.POLICY_REPORTS.both}
        self.asked = []

    @property
    def namespaced(self):
        return self.of["policyreports"]

    def pages(self, resource, **given):
        self.asked.append(given["label_selector"])
        return self.of[resource.plural].pages(resource)

    def watch(self, resource, resource_version, **_):
        return self.of[resource.plural].watch(resource, resource_version)


@pytest.fixture
def source():
    return Source()


@pytest.fixture
def store():
    made = policies.PolicyStore()
    for document in (policy_document("p"), policy_document("q", rules=("r", "s")), policy_document("p", namespace="a")):
        made.put(document)
    made.complete.set()
    return made


@pytest.fixture
def registry():
    return cells.Cells(InstrumentationScope("test"), lambda: 1)


@pytest.fixture
async def following(source, store, registry):
    """Begins to lead, and to count; what it gives is called to end that."""
    known = reported.ReportedPolicies(store, FakeCluster(), None)
    counted = standing.StandingResults(source, known, forms.POLICY_REPORTS, instruments.declare(registry))
    async with contextlib.AsyncExitStack() as stack:

        def begin():
            task = asyncio.create_task(counted.run())

            async def end():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

            stack.push_async_callback(end)
            return end

        yield begin


def told(registry, *labels):
    for metric in registry.read():
        if metric.name == "report_results":
            points = metric.data.data_points
            return {tuple(point.attributes[label] for label in labels or LABELS): point.value for point in points}
    return {}


async def until(look) -> None:
    async with asyncio.timeout(60):
        while not look():  # noqa: ASYNC110  # looks at anything
            await asyncio.sleep(0.001)


P, Q, S = (("cluster", "-", policy, rule) for policy, rule in (("p", "r"), ("q", "r"), ("q", "s")))
MINE = ("namespaced", "a", "p", "r")


async def test_it_says_what_reports_say_and_follows_them(source, registry, following) -> None:
    """Those from before, new ones, changed ones, and those that the garbage collector deletes with their objects."""
    await source.namespaced.put("one", results=[row("p", result="fail"), row("q", result="pass")])
    await source.of["clusterpolicyreports"].put("node", results=[row("p", result="fail")])
    following()
    await until(lambda: told(registry) == {(*P, "fail"): 2, (*Q, "pass"): 1})
    await source.namespaced.put("two", results=[row("p", result="fail"), row("a/p", result="warn")])
    await until(lambda: told(registry) == {(*P, "fail"): 3, (*Q, "pass"): 1, (*MINE, "warn"): 1})
    await source.namespaced.put("one", results=[row("p", result="pass"), row("q", result="pass")])
    await until(lambda: told(registry) == {(*P, "fail"): 2, (*P, "pass"): 1, (*Q, "pass"): 1, (*MINE, "warn"): 1})
    await source.namespaced.remove("two")
    await until(lambda: told(registry) == {(*P, "fail"): 1, (*P, "pass"): 1, (*Q, "pass"): 1})
    assert set(source.asked) == {"app.kubernetes.io/managed-by=kyverno"}


async def test_severity_and_category_are_those_of_the_row(source, registry, following) -> None:
    await source.namespaced.put("one", results=[row("p", result="fail", severity="high", category="Pods"), row("q")])
    following()
    expected = {("p", "high", "Pods"): 1, ("q", "", ""): 1}
    await until(lambda: told(registry, "policy_name", "policy_severity", "policy_category") == expected)


async def test_what_others_found_and_what_is_no_result_is_not_counted(source, registry, following) -> None:
    rows = [row("p", source="trivy"), row("p", result="maybe"), {"policy": "p"}, row("q", result="skip")]
    await source.namespaced.put("one", results=rows)
    following()
    await until(lambda: told(registry) == {(*Q, "skip"): 1})


async def test_what_is_said_of_a_policy_goes_with_it_before_reports_are_written_anew(
    source, store, registry, following
) -> None:
    """And of a rule with the rule; nothing that a report says of policies that there never were counts."""
    await source.namespaced.put("one", results=[row("p"), row("q", "r"), row("q", "s"), row("never")])
    following()
    await until(lambda: told(registry) == {(*P, "pass"): 1, (*Q, "pass"): 1, (*S, "pass"): 1})
    store.put(policy_document("q", rules=("s",), version=2))
    assert told(registry) == {(*P, "pass"): 1, (*S, "pass"): 1}
    store.drop(policies.Key("ClusterPolicy", "", "p"), "uid-p")
    assert told(registry) == {(*S, "pass"): 1}


async def test_namespaces_are_told_apart_and_left_out_where_that_is_asked_for(source, registry, following) -> None:
    """By the namespace of the report, which is the object's; an object without one is counted always."""
    for namespace, name in (("one", "a"), ("one", "b"), ("two", "a")):
        await source.namespaced.put(name, namespace=namespace, results=[row("p")])
    await source.of["clusterpolicyreports"].put("node", namespace="", results=[row("p")])
    following()
    await until(lambda: told(registry) == {(*P, "pass"): 4})
    registry.configure(metricsettings.MetricSettings(by_namespace=True))
    assert told(registry, "resource_namespace") == {("one",): 2, ("two",): 1, ("",): 1}
    await source.namespaced.remove("b", namespace="one")
    await until(lambda: told(registry, "resource_namespace") == {("one",): 1, ("two",): 1, ("",): 1})
    registry.configure(metricsettings.MetricSettings(namespaces=metricsettings.NamespaceFilter(exclude=("t*",))))
    assert told(registry) == {(*P, "pass"): 2}


async def test_only_the_replica_that_leads_says_it(source, registry, following) -> None:
    """Nothing before and after; when it leads again it begins with what there is then."""
    await source.namespaced.put("one", results=[row("p")])
    assert told(registry) == {}
    end = following()
    await until(lambda: told(registry) == {(*P, "pass"): 1})
    await end()
    assert told(registry) == {}
    await source.namespaced.put("two", results=[row("p")])
    following()
    await until(lambda: told(registry) == {(*P, "pass"): 2})


async def test_after_a_gap_it_is_right_again(source, registry, following) -> None:
    """What was written and deleted while no watch heard of it: nothing is counted twice, nothing stays."""
    for name in ("one", "two"):
        await source.namespaced.put(name, results=[row("p")])
    following()
    await until(lambda: told(registry) == {(*P, "pass"): 2} and source.namespaced.watched)
    await source.namespaced.remove("one", silently=True)
    await source.namespaced.put("two", silently=True, results=[row("q")])
    await source.namespaced.put("three", silently=True, results=[row("q")])
    await source.namespaced.break_watches(errors.Expired(410, "Expired", "too old resource version"))
    await until(lambda: told(registry) == {(*Q, "pass"): 2})


async def test_nothing_is_said_before_all_reports_are_listed(source, registry, following) -> None:
    """What a new leader has listed so far would look as if the rest had been put right: alerts would end."""
    for name in "abcde":
        await source.namespaced.put(name, results=[row("p")])
    await source.of["clusterpolicyreports"].put("node", results=[row("p")])
    following()
    seen = []
    async with asyncio.timeout(60):
        while not told(registry):
            seen.append(source.namespaced.listed)
            await asyncio.sleep(0)
    assert 1 in seen
    assert told(registry) == {(*P, "pass"): 6}
