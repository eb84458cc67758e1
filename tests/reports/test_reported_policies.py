"""Results of policies and rules that are gone leave every report."""

import asyncio
import contextlib

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from kymograph.clients.kubernetes import errors
from kymograph.controllers import policies
from kymograph.controllers.reports import document, forms, reported, writer
from support.reporting import POD, Controller, FakeCluster, found, policy_document, says

NODE = POD._replace(kind="Node", namespace="", name="n1", uid="uid-n1")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(reported, "SETTLE", 0.0)
    monkeypatch.setattr(reported, "RETRY_AFTER", 0.0)


@contextlib.asynccontextmanager
async def sweeping(controller: Controller):
    """The sweep and the writer at work."""
    tasks = [asyncio.create_task(controller.reported.sweep()), asyncio.create_task(controller.writer.run())]
    try:
        async with asyncio.timeout(60):
            yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def told(cluster: FakeCluster, subject=POD) -> list[tuple[str, str]]:
    return [(each["policy"], each["rule"]) for each in (cluster.report(subject) or {}).get("results", [])]


async def until(look) -> None:
    while not look():  # noqa: ASYNC110  # looks at anything
        await asyncio.sleep(0.001)


async def test_a_deleted_policy_leaves_every_report(cluster, store, controller) -> None:
    """In namespaces and outside; the others' results stay."""
    cluster.put("nodes", "", "n1", uid="uid-n1")
    await controller.settle(found(p="pass", q="fail"), found(subject=NODE, plural="nodes", p="pass"))
    async with sweeping(controller):
        store.drop(policies.Key("ClusterPolicy", "", "p"), "uid-p")
        await until(lambda: told(cluster) == [("q", "r")] and cluster.report(NODE) is None)
    assert cluster.report()["summary"]["fail"] == 1


async def test_policies_deleted_while_nobody_looked_leave_reports_too(cluster, store, controller) -> None:
    """One look at the start, once it is known which policies there are."""
    await controller.settle(found(p="pass", q="pass"))
    fresh = policies.PolicyStore()
    fresh.put(policy_document("q"))
    after = Controller(cluster, fresh, InMemorySpanExporter())
    async with sweeping(after):
        await asyncio.sleep(0.01)
        assert told(cluster) == [("p", "r"), ("q", "r")]
        fresh.complete.set()
        await until(lambda: told(cluster) == [("q", "r")])


@pytest.mark.parametrize(
    ("changed", "left"),
    [
        (policy_document("p", rules=("other",), version=2), [("q", "r")]),
        (policy_document("p", labels={writer.DISABLED: ""}, version=2), [("q", "r")]),
        (policy_document("p", rules=("r", "more"), version=2), [("p", "r"), ("q", "r")]),
        ({**policy_document("p", version=2), "spec": {"rules": []}}, [("p", "r"), ("q", "r")]),
    ],
    ids=["rule renamed", "labelled", "rule added", "compiles no more"],
)
async def test_a_changed_policy_keeps_what_it_still_says(cluster, store, controller, changed: dict, left: list) -> None:
    """By rule; a policy that does not compile any more keeps its results until it does."""
    await controller.settle(found(p="pass", q="pass"))
    async with sweeping(controller):
        store.put(changed)
        store.put(policy_document("z"))
        store.drop(policies.Key("ClusterPolicy", "", "z"), "uid-z")
        listed = len([call for call in cluster.calls if call[0] == "list"])
        await until(lambda: len([call for call in cluster.calls if call[0] == "list"]) > listed + 1)
        await until(lambda: told(cluster) == left and controller.work.idle)


async def test_a_policy_that_never_compiled_here_keeps_what_is_stored(cluster, controller) -> None:
    """After a restart its rules are not known; they are once it compiles again."""
    await controller.settle(found(p="pass"))
    store = policies.PolicyStore()
    store.put({**policy_document("p"), "spec": {"rules": []}})
    store.complete.set()
    after = Controller(cluster, store, InMemorySpanExporter())
    assert after.reported("p", "r")
    async with sweeping(after):
        await until(lambda: ("list", "clusterpolicyreports") in cluster.verbs())
        assert told(cluster) == [("p", "r")]
        store.put(policy_document("p", rules=("other",), version=2))
        await until(lambda: cluster.report() is None)


async def test_a_sweep_survives_the_api_server(cluster, store, controller, exported) -> None:
    """A failed list is tried again; a kind that is not installed has nothing to be removed. Each sweep is a trace."""
    await controller.settle(found(p="pass", q="pass"))
    cluster.fail("list", "policyreports", errors.Unreachable("refused"), errors.StatusError(500, "", "etcd"))
    cluster.fail("list", "clusterpolicyreports", errors.NotFound(404, "", "no message"))
    async with sweeping(controller):
        store.drop(policies.Key("ClusterPolicy", "", "p"), "uid-p")
        await until(lambda: told(cluster) == [("q", "r")])
    sweeps = [span for span in exported.get_finished_spans() if span.name == "REPORTS sweep"]
    assert [span.attributes.get("error.type") for span in sweeps[:4]] == [None, "Unreachable", "StatusError", None]
    assert {span.parent for span in sweeps} == {None}
    written = next(span for span in reversed(exported.get_finished_spans()) if span.name == "REPORTS write")
    assert {link.context.span_id for link in written.links} < {span.context.span_id for span in sweeps}
    assert written.links


async def test_reports_of_others_are_left_alone(cluster, store, controller) -> None:
    """Whatever they say of policies we do not know."""
    cluster.put("policyreports", "shop", "theirs", uid="x")
    cluster.objects["policyreports", "shop", "theirs"]["results"] = [{"source": "kyverno", "policy": "gone"}]
    async with sweeping(controller):
        await until(lambda: ("list", "clusterpolicyreports") in cluster.verbs())
        await until(lambda: controller.work.idle)
    assert {call[0] for call in cluster.calls} == {"list"}


async def test_reports_of_the_other_form_are_deleted_when_it_is_left(cluster, store, controller) -> None:
    """Nobody would keep them true; what other engines wrote into them stays, and so does what is not ours."""
    for name, source in (("uid-web", "kyverno"), ("uid-theirs", "KyvernoValidatingPolicy")):
        stored = document.merged(POD._replace(uid=name), None, says(p="pass"), _judged, forms.OPEN_REPORTS)
        stored["results"] = [{**each, "source": source} for each in stored["results"]]
        cluster.objects["reports", "shop", name] = {**stored, "metadata": {**stored["metadata"], "uid": f"r-{name}"}}
    async with sweeping(controller):
        await until(lambda: ("reports", "shop", "uid-web") not in cluster.objects)
        await until(lambda: ("list", "policyreports") in cluster.verbs())
    assert ("reports", "shop", "uid-theirs") in cluster.objects


def _judged(_policy: str, _rule: str) -> str:
    return "validate"
