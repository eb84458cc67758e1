"""A TracingConfiguration is applied while the process runs, all of it or none, and its author is told."""

import asyncio

import kopf
import pytest

from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.localcluster import pki
from kymograph.runtime import metricserver, tracing, tracinginforce, tracingreport
from kymograph.telemetry import defaults, logsettings
from support import oneprocess, trees


@pytest.fixture
async def here(monkeypatch):
    monkeypatch.setattr(tracingreport, "LOOK_EVERY", 0.002)
    made = oneprocess.Here()
    yield made
    await made.close()


async def test_the_start_makes_the_resource_for_users_to_edit(here, unused_tcp_port) -> None:
    """It says nothing: what applies where nobody said anything does, and so do the flags of a later start."""
    here.started_with(defaults.Defaults(prometheus_port=unused_tcp_port))
    await here.tracing.start()
    assert (here.cluster.created, here.endpoint) == (1, None)
    assert here.cluster.document["spec"] == {}
    assert "# TYPE" in await oneprocess.scraped(unused_tcp_port)
    here.started_with(defaults.Defaults(prometheus=False, pushed=True, metrics=defaults.ExporterDefaults("b:1")))
    await here.tracing.start()
    assert (here.cluster.created, here.telemetry.in_force.metrics.otlp.endpoint) == (1, "b:1")
    assert await oneprocess.refused(unused_tcp_port)


async def test_the_start_takes_the_resource_that_another_replica_makes_first(here, unused_tcp_port) -> None:
    """Two replicas start at once; one of them meets a conflict and reads what the other made."""
    there = oneprocess.document(unused_tcp_port, endpoint="a:1")
    here.cluster.failures = [kubernetes_errors.NotFound(404, "", ""), kubernetes_errors.Conflict(409, "", "")]
    here.cluster.document = there
    await here.tracing.start()
    assert here.endpoint == "a:1"


async def test_a_start_without_an_answer_goes_on_with_the_defaults(here, monkeypatch, unused_tcp_port) -> None:
    """Policies are enforced whatever becomes of telemetry."""
    here.cluster.failures = [kubernetes_errors.Unreachable("refused")]
    monkeypatch.setattr(metricserver.MetricServer, "serve", _nowhere)
    await here.tracing.start()
    assert here.endpoint is None


async def test_the_log_says_where_each_signal_goes(here, caplog) -> None:
    """Not only traces: who looks for metrics reads it, too."""
    caplog.set_level("INFO", tracinginforce.__name__)
    await here.tracing.changed(oneprocess.document(None, endpoint="one:4317"))
    await here.tracing.changed(oneprocess.document(None, generation=2))
    assert [record.message for record in caplog.records] == [
        "Telemetry configured: traces to one:4317",
        "Telemetry configured: nothing is exported",
    ]


async def test_the_resource_is_made_once_its_kind_is_installed(here, monkeypatch) -> None:
    """The operator may be there before its CRD; but what a user deletes is not made again."""
    monkeypatch.setattr(metricserver.MetricServer, "serve", _nowhere)
    missing = kubernetes_errors.NotFound(404, "", "")
    here.cluster.failures = [missing, missing, missing, missing]
    await here.tracing.start()
    here.tasks.append(asyncio.create_task(here.tracing.make_up()))
    here.tracing.kinds_changed()  # another kind
    await here.until(lambda: not here.cluster.failures)
    assert here.cluster.document is None
    here.tracing.kinds_changed()
    await here.until(lambda: here.cluster.document is not None)
    assert here.cluster.created == 1
    here.cluster.document = None
    await here.tracing.removed()
    here.tracing.kinds_changed()
    for _ in range(20):
        await asyncio.sleep(0)
    assert here.cluster.document is None


async def _nowhere(self, port, guard=metricserver.OPEN):
    """Stands for a port, where a test is about something else."""


async def test_changes_move_exporters_and_ports_and_removal_the_defaults(here, unused_tcp_port_factory) -> None:
    """Without a restart; a status write is no change."""
    first, second = unused_tcp_port_factory(), unused_tcp_port_factory()
    await here.tracing.changed(oneprocess.document(first, endpoint="a:1"))
    assert here.endpoint == "a:1"
    assert await oneprocess.scraped(first) is not None
    await here.tracing.changed(oneprocess.document(second, 2, endpoint="b:1"))
    assert (here.endpoint, await oneprocess.refused(first)) == ("b:1", True)
    assert await oneprocess.scraped(second) is not None
    await here.tracing.changed(oneprocess.document(first, 2, endpoint="c:1"))
    assert here.endpoint == "b:1"
    await here.tracing.changed(oneprocess.document(None, 3))
    assert (here.endpoint, await oneprocess.refused(second)) == (None, True)


def _of_telemetry(point):
    return point.attributes["controller_name"] == "telemetry-controller"


@pytest.mark.parametrize("wrong", ["field", "exporter", "port"])
async def test_what_cannot_be_used_leaves_everything_as_it_was(here, unused_tcp_port_factory, wrong) -> None:
    """Also the half of it that could be used; the condition says why, and a mended one is taken."""
    good, other, taken = (unused_tcp_port_factory() for _ in range(3))
    await here.tracing.changed(oneprocess.document(good, 1, endpoint="a:1"))
    here.report()
    await here.written(1)
    blocker = metricserver.MetricServer(here.telemetry)
    await blocker.serve(taken)
    here.unusable = wrong == "exporter"
    await here.tracing.changed(
        oneprocess.document(
            taken if wrong == "port" else other, 2, endpoint="no endpoint" if wrong == "field" else "b:1"
        )
    )
    assert here.endpoint == "a:1"
    assert await oneprocess.scraped(good) is not None
    assert await oneprocess.refused(other)
    accepted = (await here.written(2))[1]["conditions"][0]
    assert (accepted["type"], accepted["status"], accepted["observedGeneration"]) == ("Accepted", "False", 2)
    assert "the last good configuration goes on" in accepted["message"]
    here.unusable = False
    await here.tracing.changed(oneprocess.document(other, 3, endpoint="b:1"))
    assert (await here.written(3))[2]["conditions"][0]["status"] == "True"
    assert here.endpoint == "b:1"
    await blocker.serve(None)
    (done,) = [each for each in here.telemetry.cells.read() if each.name == "controller_reconcile_duration_seconds"]
    ends = [point.attributes["outcome"] for point in done.data.data_points if _of_telemetry(point)]
    assert ends.count("success") == 1
    assert len(ends) == 2


async def test_a_status_is_written_once_until_something_changes(here, unused_tcp_port) -> None:
    """Not every second; a resource made again has no status yet and gets one."""
    await here.tracing.changed(oneprocess.document(unused_tcp_port))
    here.report()
    await here.written(1)
    await asyncio.sleep(0.02)
    assert len(here.cluster.statuses) == 1
    await here.tracing.changed(oneprocess.document(unused_tcp_port, uid="again"))
    await here.written(2)
    await here.tracing.removed()
    await here.tracing.changed(oneprocess.document(unused_tcp_port, uid="once more"))
    assert [each["observedGeneration"] for each in await here.written(3)] == [1, 1, 1]


async def test_counts_are_written_now_and_then(here, monkeypatch, unused_tcp_port) -> None:
    """A status whose counts alone have changed can wait."""
    monkeypatch.setattr(tracingreport, "COUNT_EVERY", 0.0)
    await here.tracing.changed(oneprocess.document(unused_tcp_port, endpoint="a:1"))
    here.report()
    await here.written(1)
    with here.telemetry.tracer.start_as_current_span("not sampled"):
        pass
    await asyncio.sleep(0.02)
    assert len(here.cluster.statuses) == 1  # nothing was counted
    here.telemetry.queue._sent += 5
    assert (await here.written(2))[-1]["exporters"][0]["sent"] == 5


async def test_a_status_that_cannot_be_written_is_tried_again(here, unused_tcp_port) -> None:
    """Whatever the API server says."""
    await here.tracing.changed(oneprocess.document(unused_tcp_port))
    here.cluster.failures = [kubernetes_errors.Unreachable("refused"), kubernetes_errors.NotFound(404, "", "")]
    here.report()
    assert len(await here.written(1)) == 1


def said_by(name, generation=1, reported_at="2024-03-01T12:00:00Z"):
    conditions = [{"type": "Accepted", "status": "True", "reason": "Applied", "message": ""}]
    return {"name": name, "observedGeneration": generation, "reportedAt": reported_at, "conditions": conditions}


async def test_a_replica_applies_its_own_entry_and_takes_it_with_it(here, unused_tcp_port) -> None:
    """As a field manager of its own, once until something changes; when it stops, it applies nothing."""
    await here.tracing.changed(oneprocess.document(unused_tcp_port, endpoint="a:1"))
    here.tell()
    await here.until(lambda: here.cluster.applied)
    (manager, (entry,)) = here.cluster.applied[0]
    assert (manager, entry["name"], entry["observedGeneration"]) == ("kymograph-one", "one", 1)
    assert [each["type"] for each in entry["conditions"]] == ["Accepted", "Exporting"]
    assert [each["signal"] for each in entry["exporters"]] == ["traces"]
    here.telemetry.queue._sent += 5
    await asyncio.sleep(0.02)
    assert len(here.cluster.applied) == 1, "counts can wait"
    await here.tracing.changed(oneprocess.document(unused_tcp_port, 2, endpoint="b:1"))
    await here.until(lambda: len(here.cluster.applied) == 2)
    here.tasks.pop().cancel()
    await here.until(lambda: here.cluster.applied[-1] == ("kymograph-one", []))
    assert here.cluster.statuses == [], "all the rest is for the leader to say"


async def test_a_replica_shows_now_and_then_that_it_is_there(here, monkeypatch, unused_tcp_port) -> None:
    """Although it has nothing new to say."""
    monkeypatch.setattr(tracingreport, "COUNT_EVERY", 0.0)
    monkeypatch.setattr(tracingreport, "EACH", 0.001)
    await here.tracing.changed(oneprocess.document(unused_tcp_port))
    here.tell()
    await here.until(lambda: len(here.cluster.applied) >= 3)


async def test_each_write_is_a_trace(here, exported, tracer, unused_tcp_port) -> None:
    """Whether of the whole status or of an entry."""
    here.reports = tracingreport.TracingReport(here.cluster, here.tracing, "one", lambda: oneprocess.NOW, tracer)
    await here.tracing.changed(oneprocess.document(unused_tcp_port))
    here.report()
    here.tell()
    await here.until(lambda: len(exported.get_finished_spans()) >= 2)
    assert here.cluster.statuses
    assert here.cluster.applied
    assert {(span.name, span.parent) for span in exported.get_finished_spans()} == {("TELEMETRY status", None)}


async def test_what_is_put_in_force_is_a_trace(here, exported, tracer, unused_tcp_port) -> None:
    """Of what cannot be used, too, with the reason."""
    here.telemetry.tracer = tracer
    await here.tracing.changed(oneprocess.document(unused_tcp_port))
    await here.tracing.changed(oneprocess.document(unused_tcp_port, 2, endpoint="no endpoint"))
    assert trees.render(exported.get_finished_spans()).splitlines() == [
        "TELEMETRY configuration",
        "TELEMETRY configuration ERROR: traces.endpoint: 'no endpoint' is not host:port",
        "    error.type=SettingsInvalid",
        "    event exception",
    ]


async def test_the_leader_takes_out_those_that_are_gone(here, monkeypatch, unused_tcp_port) -> None:
    """Whose entries no longer change, by its own clock; and counts who is there."""
    monkeypatch.setattr(tracingreport, "COUNT_EVERY", 0.02)
    monkeypatch.setattr(tracingreport, "EACH", 0.0)
    there = oneprocess.document(unused_tcp_port)
    await here.tracing.changed({**there, "status": {"replicas": [said_by("one"), said_by("two")]}})
    here.report()
    assert (await here.written(1))[0]["inForce"] == "2/2"
    await here.until(lambda: here.cluster.applied)
    assert here.cluster.applied[0] == ("kymograph-two", [])
    await here.tracing.changed({**there, "status": {"replicas": [said_by("one")]}})
    await here.until(lambda: here.cluster.statuses[-1]["inForce"] == "1/1")


async def test_kopf_tells_of_the_one_named_default(here, unused_tcp_port) -> None:
    """Others cannot exist; were there one, it would not apply."""
    registry = kopf.OperatorRegistry()
    tracing.register(registry, here.tracing)
    (handler,) = registry._watching.get_all_handlers()
    mine = oneprocess.document(unused_tcp_port, endpoint="a:1")
    await handler.fn(event={"type": "ADDED", "object": {**mine, "metadata": {**mine["metadata"], "name": "other"}}})
    assert here.endpoint is None
    await handler.fn(event={"type": None, "object": mine})
    assert here.endpoint == "a:1"


async def test_flags_apply_under_the_resource_that_is_made(here, unused_tcp_port) -> None:
    """What the resource says would hide them, so it says nothing; what is edited into it does."""
    here.started_with(
        defaults.Defaults(traced=True, traces=defaults.ExporterDefaults("a:1"), prometheus_port=unused_tcp_port)
    )
    await here.tracing.start()
    assert here.cluster.document["spec"] == {}
    assert here.endpoint == "a:1"
    assert "# TYPE" in await oneprocess.scraped(unused_tcp_port)
    await here.tracing.changed(oneprocess.document(unused_tcp_port, 2, endpoint="b:1"))
    assert here.endpoint == "b:1"
    await here.tracing.removed()
    assert here.endpoint == "a:1"


async def test_certificates_in_files_are_followed(here, tmp_path, monkeypatch) -> None:
    """Those that variables name, also where there is no resource; one that is broken leaves the last good in force."""
    monkeypatch.setattr(tracing, "SECRETS_EVERY", 0.002)
    monkeypatch.setattr(metricserver.MetricServer, "serve", _nowhere)
    first, second = (pki.Authority(name).pair.certificate for name in ("first", "second"))
    file = tmp_path / "ca.pem"
    file.write_bytes(first)
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector:4317",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": str(file),
    }
    here.started_with(defaults.Defaults(traced=True), environ)
    await here.tracing.removed()
    here.tasks.append(asyncio.create_task(here.tracing.follow_secrets()))
    for content in (b"broken", second):
        replacement = tmp_path / "new.pem"
        replacement.write_bytes(content)
        replacement.rename(file)
    await here.until(lambda: len(here.destinations) == 2)
    assert [to.ca for to in here.destinations] == [first, second]


async def test_a_path_that_cannot_be_named_leaves_the_others(here, monkeypatch) -> None:
    """The condition says which one it is. What was told to nobody before is not told now, what is right is live."""
    monkeypatch.setattr(metricserver.MetricServer, "serve", _nowhere)

    def redacting(generation, *paths):
        return {**oneprocess.document(None, generation), "spec": {"logs": {"redact": {"paths": list(paths)}}}}

    here.report()
    await here.tracing.changed(redacting(1, "data.password"))
    assert [path.text for path in here.telemetry.redacted_paths] == ["data.password"]
    await here.tracing.changed(redacting(2, "data.pin", "metadata.name"))
    assert [path.text for path in here.telemetry.redacted_paths] == ["data.password", "data.pin"]
    await here.until(lambda: here.cluster.statuses and here.cluster.statuses[-1]["observedGeneration"] == 2)
    accepted = here.cluster.statuses[-1]["conditions"][0]
    assert (accepted["status"], accepted["reason"]) == ("False", "SettingsInvalid")
    assert "logs.redact.paths[1]: metadata.name" in accepted["message"]
    assert "goes on, and logs.redact of this one holds beside its own" in accepted["message"]
    await here.tracing.changed(redacting(3, "data.token", "metadata.name"))
    assert [path.text for path in here.telemetry.redacted_paths] == ["data.password", "data.token"]
    await here.tracing.changed(redacting(4, "data.pin"))
    assert [path.text for path in here.telemetry.redacted_paths] == ["data.pin"]
    await here.tracing.removed()
    assert here.telemetry.redacted_paths == ()


async def test_logs_are_told_with_everything_else(here, monkeypatch) -> None:
    """Nothing of a configuration that cannot be used applies, the log included; without one, the flags do."""
    monkeypatch.setattr(metricserver.MetricServer, "serve", _nowhere)
    quiet = {**oneprocess.document(None), "spec": {"logs": {"level": "error", "loggers": {"kopf": "debug"}}}}
    await here.tracing.changed(quiet)
    wrong = oneprocess.document(None, 2, endpoint="no endpoint")
    await here.tracing.changed({**wrong, "spec": {**wrong["spec"], "logs": {"level": "debug"}}})
    await here.tracing.changed({**oneprocess.document(None, 3), "spec": {"logs": {"level": "loud"}}})
    await here.tracing.removed()
    assert here.logs == [
        logsettings.LogSettings("error", None, {"kopf": "debug"}),
        logsettings.LogSettings(),
    ]
