"""Where no configuration was in force, what of one can be used is; the rest is told to its author, and tried again."""

import asyncio
import contextlib
import re

import pytest

from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.localcluster import pki
from kymograph.runtime import metricserver, tracing
from kymograph.telemetry import defaults
from support import oneprocess


@pytest.fixture
async def here(monkeypatch):
    monkeypatch.setattr(tracing, "SECRETS_EVERY", 0.002)
    made = oneprocess.Here()
    yield made
    await made.close()


@pytest.fixture
async def taken(here, unused_tcp_port_factory):
    """A port that somebody else listens on, for as long as the context lasts."""

    @contextlib.asynccontextmanager
    async def take():
        blocker = metricserver.MetricServer(here.telemetry)
        port = unused_tcp_port_factory()
        await blocker.serve(port)
        try:
            yield port
        finally:
            await blocker.serve(None)

    return take


def follow(here):
    """Look at Secrets, files and ports."""
    here.tasks.append(asyncio.create_task(here.tracing.follow_secrets()))


def configured(generation=1, **spec):
    return {"metadata": {"name": "default", "generation": generation, "uid": "u"}, "spec": spec}


def with_token(endpoint="a:1", name="otel-token"):
    """An exporter that shows a token from a Secret."""
    reference = {"secretKeyRef": {"name": name, "key": "token"}}
    return {"endpoint": endpoint, "insecure": True, "headers": [{"name": "authorization", "valueFrom": reference}]}


def redacting(*paths, **logs):
    return {"redact": {"paths": list(paths)}, **logs}


def redacted(here):
    return [path.text for path in here.telemetry.redacted_paths]


async def accepted(here):
    """The condition, as an author sees it: its status, reason and message."""
    _, status = await here.tracing.judged()
    return tuple(status["conditions"][0][key] for key in ("status", "reason", "message"))


async def going(here):
    """What is exported where, by the status."""
    _, status = await here.tracing.judged()
    return [(each["signal"], each["endpoint"]) for each in status["exporters"]]


APPLIED = ("True", "Applied", "The configuration is in force.")


async def test_a_missing_secret_takes_its_exporter_and_nothing_else(here, unused_tcp_port) -> None:
    """A rollout after a token was deleted must not put what is told to nobody into logs; the Secret is looked for."""
    here.cluster.document = configured(
        traces=with_token(),
        metrics={"prometheus": {"port": unused_tcp_port}},
        logs=redacting("spec.password", format="json", level="debug"),
    )
    await here.tracing.start()
    assert redacted(here) == ["spec.password"]
    assert (here.logs[-1].format, here.logs[-1].level) == ("json", "debug")
    assert "# TYPE" in await oneprocess.scraped(unused_tcp_port)
    assert (here.endpoint, await going(here)) == (None, [])
    assert await accepted(here) == (
        "False",
        "SecretMissing",
        "In force without traces. traces: Secret 'otel-token': there is none in namespace 'kymograph'.",
    )
    follow(here)
    here.cluster.put_secret("otel-token", token=b"Bearer 1")
    await here.until(lambda: here.endpoint == "a:1")
    assert (await accepted(here), await going(here)) == (APPLIED, [("traces", "a:1")])
    assert here.destinations[-1].headers == (("authorization", "Bearer 1"),)


@pytest.mark.parametrize(
    ("spec", "part", "reason"),
    [
        ({"metrics": {"exposure": {"policy_result_total": {}}}}, "metrics.exposure[policy_result_total]", "no such"),
        ({"metrics": {"exposure": {"rule_info": {"buckets": []}}}}, "metrics.exposure[rule_info]", "ascending"),
        ({"metrics": {"prefix": "k_"}}, "metrics.prefix", "'k_' is none of"),
        ({"metrics": {"cardinalityLimit": 1}}, "metrics.cardinalityLimit", "1 is not between"),
        ({"metrics": {"otlp": {"interval": "1ms"}}}, "metrics.otlp", "metrics.otlp.interval: 1ms is not between"),
        ({"metrics": {"otlp": with_token()}}, "metrics.otlp", "there is none in namespace"),
        ({"logs": redacting("spec.password", level="loud")}, "logs.level", "'loud' is none of"),
        ({"logs": redacting("spec.password", format="xml")}, "logs.format", "'xml' is none of"),
        ({"logs": redacting("spec.password", loggers={"root": "debug"})}, "logs.loggers[root]", "logs.level"),
        ({"logs": redacting("spec.password", otlp=with_token())}, "logs.otlp", "there is none in namespace"),
        ({"logs": redacting("metadata.name", "spec.password")}, "logs.redact.paths[0]", "told always"),
        ({"logs": redacting("spec.password", "$.x")}, "logs.redact.paths[1]", "no path"),
        ({"propagators": ["jaeger"]}, "propagators", "'jaeger' is none of"),
        ({"environ": {"OTEL_BSP_MAX_QUEUE_SIZE": "many"}}, "OTEL_BSP", "OTEL_BSP_MAX_QUEUE_SIZE: 'many' is no number"),
        ({"environ": {"OTEL_BLRP_SCHEDULE_DELAY": "0"}}, "OTEL_BLRP", "OTEL_BLRP_SCHEDULE_DELAY: '0' is no number"),
        ({"environ": {"OTEL_SDK_DISABLED": "maybe"}}, "OTEL_SDK_DISABLED", "neither true nor false"),
        ({"environ": {"OTEL_METRICS_EXEMPLAR_FILTER": "x"}}, "OTEL_METRICS_EXEMPLAR_FILTER", "none of always_on"),
        ({"environ": {"OTEL_METRICS_EXPORTER": "statsd"}}, "metrics.otlp", "OTEL_METRICS_EXPORTER: 'statsd'"),
        ({"environ": {"OTEL_LOGS_EXPORTER": "statsd"}}, "logs.otlp", "OTEL_LOGS_EXPORTER: 'statsd'"),
    ],
)
async def test_a_part_that_cannot_be_used_is_left_out_alone(here, unused_tcp_port, spec, part, reason) -> None:
    """It is named, with what is wrong with it; traces, metrics and what is told to nobody are in force."""
    here.started_with(defaults.Defaults(prometheus_port=unused_tcp_port), spec.pop("environ", None))
    here.cluster.document = configured(
        **{"traces": {"endpoint": "a:1"}, "logs": redacting("spec.password"), **spec},
    )
    await here.tracing.start()
    status, _, message = await accepted(here)
    assert (status, message.partition(". ")[0]) == ("False", f"In force without {part}")
    assert reason in message
    assert redacted(here) == ["spec.password"]
    assert (here.endpoint, await going(here)) == ("a:1", [("traces", "a:1")])
    assert "# TYPE" in await oneprocess.scraped(unused_tcp_port)


@pytest.mark.parametrize(
    ("traces", "left_out", "in_force"),
    [
        ({"endpoint": "no endpoint"}, "traces", []),
        ({**with_token(), "additional": [{"name": "b", "endpoint": "b:1"}]}, "traces", ["b:1"]),
        ({"endpoint": "a:1", "additional": [{"name": "b", **with_token("b:1")}]}, "traces.additional[b]", ["a:1"]),
        ({"endpoint": "a:1", "additional": [{"name": "b", "endpoint": "b"}]}, "traces.additional[0]", ["a:1"]),
    ],
)
async def test_destinations_of_traces_are_parts_of_their_own(here, unused_tcp_port, traces, left_out, in_force) -> None:
    """Spans go to those that can be used; where there is none, no span is made."""
    here.cluster.document = configured(traces=traces, metrics={"prometheus": {"enabled": False}})
    await here.tracing.start()
    assert (await accepted(here))[2].startswith(f"In force without {left_out}. ")
    assert [endpoint for _, endpoint in await going(here)] == in_force
    assert [to.endpoint for to in here.destinations] == in_force
    assert (here.telemetry.in_force.traces is None) is (not in_force)


async def test_an_exporter_that_cannot_be_made_is_left_out(here) -> None:
    """As one whose settings are wrong."""
    here.unusable = True
    here.cluster.document = configured(
        traces={"endpoint": "a:1"}, metrics={"prometheus": {"enabled": False}}, logs=redacting("spec.password")
    )
    await here.tracing.start()
    assert (await accepted(here))[1:] == (
        "ExporterInvalid",
        "In force without traces. traces: no exporter for a:1: bad certificate.",
    )
    assert (here.endpoint, redacted(here)) == (None, ["spec.password"])


async def test_metrics_are_not_served_in_plaintext_where_their_certificate_is_missing(here, unused_tcp_port) -> None:
    """What is left out does not come back as its default."""
    tls = {"certificateSecretRef": {"name": "metrics-tls"}}
    here.cluster.document = configured(
        traces={"endpoint": "a:1"}, metrics={"prometheus": {"port": unused_tcp_port, "tls": tls}}
    )
    await here.tracing.start()
    assert (await accepted(here))[2].startswith("In force without metrics.prometheus. ")
    assert (here.endpoint, await oneprocess.refused(unused_tcp_port)) == ("a:1", True)


async def test_all_parts_that_are_left_out_are_named_before_the_reasons(here) -> None:
    """A long reason, such as the list of all metrics, hides none of them."""
    here.cluster.document = configured(
        traces=with_token(),
        metrics={"prometheus": {"enabled": False}, "exposure": {"nothing": {}}},
        logs=redacting(otlp=with_token()),
    )
    await here.tracing.start()
    message = (await accepted(here))[2]
    names, _, reasons = message.partition(". ")
    assert names == "In force without metrics.exposure[nothing], traces, logs.otlp"
    assert re.match(r"traces: Secret .*; logs\.otlp: Secret .*; metrics\.exposure\[nothing\]: there is no", reasons)


async def test_a_taken_port_is_tried_until_it_is_free(here, taken) -> None:
    """Traces and logs go on meanwhile; nothing is logged or applied by the looks."""
    async with taken() as port:
        here.cluster.document = configured(
            traces={"endpoint": "a:1"}, metrics={"prometheus": {"port": port}}, logs=redacting("spec.password")
        )
        await here.tracing.start()
        applied = len(here.logs)
        assert (here.endpoint, redacted(here), here.metrics.port) == ("a:1", ["spec.password"], None)
        status, reason, message = await accepted(here)
        assert (status, reason) == ("False", "PortTaken")
        assert message.startswith(f"In force without metrics.prometheus. metrics.prometheus.port: port {port}: ")
        assert message.endswith("; free it, or name another one.")
        follow(here)
        await asyncio.sleep(0.02)
        assert len(here.logs) == applied
    await here.until(lambda: here.metrics.port == port)
    assert "# TYPE" in await oneprocess.scraped(port)
    assert await accepted(here) == APPLIED


async def test_a_port_that_a_change_asks_for_is_tried_until_it_is_free(here, taken, unused_tcp_port) -> None:
    """The last good configuration goes on meanwhile, its port included."""
    await here.tracing.changed(configured(metrics={"prometheus": {"port": unused_tcp_port}}))
    async with taken() as port:
        await here.tracing.changed(configured(2, metrics={"prometheus": {"port": port}}))
        follow(here)
        await asyncio.sleep(0.02)
        assert "# TYPE" in await oneprocess.scraped(unused_tcp_port)
        assert (await accepted(here))[2].endswith("; the last good configuration goes on.")
    await here.until(lambda: here.metrics.port == port)
    assert await oneprocess.refused(unused_tcp_port)
    assert await accepted(here) == APPLIED


async def test_what_is_newly_told_to_nobody_holds_before_anything_else_is_known(here, monkeypatch) -> None:
    """While Secrets are read, values of objects are told already; records of the log are as secret."""
    await here.tracing.changed(configured(metrics={"prometheus": {"enabled": False}}, logs=redacting("spec.password")))
    waiting, asked = asyncio.Event(), asyncio.Event()

    async def slowly(*_, **__):
        asked.set()
        await waiting.wait()
        raise kubernetes_errors.Unreachable("refused")

    monkeypatch.setattr(here.cluster, "get", slowly)
    logs = {"redact": {"paths": ["spec.pin"], "fields": ["decision.user"]}}
    changing = asyncio.create_task(here.tracing.changed(configured(2, traces=with_token(), logs=logs)))
    await asked.wait()
    meanwhile = [redacted(here), [path.text for path in here.logs[-1].redacted.fields]]
    assert meanwhile == [["spec.password", "spec.pin"], ["decision.user"]]
    waiting.set()
    await changing
    assert [redacted(here), [path.text for path in here.logs[-1].redacted.fields]] == meanwhile
    assert "refused; the last good configuration goes on, and logs.redact of this" in (await accepted(here))[2]


async def test_once_all_of_it_was_in_force_it_goes_on_as_a_whole(here) -> None:
    """What was in part before is still mended in part, and what was whole is not taken apart."""
    off = {"prometheus": {"enabled": False}}
    here.cluster.document = configured(traces=with_token(), metrics=off)
    await here.tracing.start()
    await here.tracing.changed(
        configured(2, traces=with_token(), metrics=off, logs=redacting("spec.pin", level="info"))
    )
    assert (here.endpoint, redacted(here), here.logs[-1].level) == (None, ["spec.pin"], "info")
    here.cluster.put_secret("otel-token", token=b"Bearer 1")
    await here.tracing.changed(configured(3, traces=with_token(), metrics=off, logs={"level": "info"}))
    assert await accepted(here) == APPLIED
    await here.tracing.changed(configured(4, traces=with_token(name="other"), metrics=off, logs={"level": "debug"}))
    assert (here.endpoint, here.logs[-1].level) == ("a:1", "info")
    assert (await accepted(here))[2].endswith("; the last good configuration goes on.")


async def test_defaults_are_no_older_state_of_a_resource(here) -> None:
    """One that comes, or comes back, is in force as far as it can be used."""
    here.started_with(defaults.Defaults(traced=True, traces=defaults.ExporterDefaults("flag:1"), prometheus=False))
    await here.tracing.removed()
    assert here.endpoint == "flag:1"
    await here.tracing.changed(configured(traces=with_token(), logs=redacting("spec.pin", level="info")))
    assert (here.endpoint, here.logs[-1].level) == (None, "info")


async def test_secrets_of_flags_are_followed_where_there_is_no_resource(here) -> None:
    """One that appears, and one that is rotated."""
    first, second = (pki.Authority(name).pair.certificate for name in ("first", "second"))
    to = defaults.ExporterDefaults("collector:4317", "otel-ca")
    here.started_with(defaults.Defaults(traced=True, traces=to, prometheus=False))
    await here.tracing.removed()
    assert here.endpoint is None
    follow(here)
    here.cluster.put_secret("otel-ca", **{"ca.pem": first})
    await here.until(lambda: len(here.destinations) == 1)
    here.cluster.put_secret("otel-ca", **{"ca.pem": second})
    await here.until(lambda: len(here.destinations) == 2)
    assert [each.ca for each in here.destinations] == [first, second]
