"""The same spans for several receivers: written once, each with its own queue, nobody waiting for another."""

import asyncio
import itertools

import pytest
from opentelemetry.trace import SpanKind

from kymograph.telemetry import errors, export, memory, providers, settings, sharing
from support import receivers as otlp
from support import scraped, waiting

PATIENCE = 30.0
LONG = "x" * 1_000
PARENT = f"00-{7:032x}-{9:016x}-01"


@pytest.fixture
async def telemetry(receivers):  # shut down while the receivers are there
    made = providers.Telemetry(
        lambda _, subject: (f"RULE {subject}", {}), facts={"service.instance.id": "i"}, environ={}
    )
    yield made
    await made.shutdown(PATIENCE)


def spec(first, **additional):
    return {
        "traces": {
            "endpoint": first.endpoint,
            "protocol": first.protocol,
            "samplingRatePerMillion": 1_000_000,
            "additional": [
                {"name": name, "endpoint": each.endpoint, "protocol": each.protocol, "insecure": True}
                for name, each in additional.items()
            ],
        }
    }


def review(telemetry):
    record = telemetry.begin(PARENT, None, 0)
    record.begin(1, "r", 1)
    record.end("pass", "", 2)
    record.finish("admission", {}, 3)
    assert telemetry.keep(record)


def long_review(telemetry, steps=50):
    """One whose steps all have much to say: 200 KiB of memory, 51 spans."""
    record = telemetry.begin(PARENT, None, 0)
    for at in range(steps):
        record.extend([(1, at, 1), ("fail", f"{at}-{LONG}", 2)])
    record.finish("admission", {}, 3)
    telemetry.keep(record)


def work(telemetry):
    with telemetry.tracer.start_as_current_span("WORK", kind=SpanKind.INTERNAL, attributes={"a": "b"}):
        pass


def contents(receiver):
    return sorted(span.SerializeToString(deterministic=True) for span in receiver.spans)


async def come(receiver, count):
    await asyncio.to_thread(waiting.until, f"{count} spans", lambda: len(receiver.spans) >= count)


async def counted(telemetry, name, count):
    """Wait until so many spans are known to have come: those that are not are given to whoever comes next."""
    await asyncio.to_thread(waiting.until, f"{count} counted", lambda: telemetry.additional[name].sent >= count)


async def test_all_receivers_get_the_same_spans_with_the_same_resource(telemetry, receivers):
    """Over whatever protocol; spans of reviews and of other work."""
    first, second, third = receivers(otlp.GRPC), receivers(otlp.HTTP), receivers(otlp.GRPC)
    await telemetry.apply(settings.from_spec(spec(first, second=second, third=third)))
    review(telemetry)
    work(telemetry)
    for receiver in (first, second, third):
        await come(receiver, 3)
    assert contents(first) == contents(second) == contents(third)
    assert {span.name for span in first.spans} == {"admission", "RULE r", "WORK"}
    assert first.resources[0] == second.resources[0] == third.resources[0]
    assert set(telemetry.additional) == {"second", "third"}


async def test_one_that_is_gone_holds_up_nobody_and_is_the_only_one_to_lose(telemetry, receivers):
    """Its state, its losses and its metrics are its own."""
    first, gone = receivers(otlp.GRPC), receivers(otlp.GRPC)
    gone.refuse = otlp.FORBIDDEN
    await telemetry.apply(settings.from_spec(spec(first, gone=gone)))
    review(telemetry)
    await come(first, 2)
    lost = await asyncio.to_thread(
        waiting.until, "the loss is counted", lambda: (s := telemetry.additional["gone"]).last_error and s
    )
    assert lost.dropped[export.Reason.EXPORT_FAILED] == 2
    assert await asyncio.to_thread(telemetry.queue.flush, PATIENCE)
    mine = telemetry.queue.status()
    assert (mine.sent, sum(mine.dropped.values()), mine.last_error) == (2, 0, None)
    text = scraped.text(telemetry)
    assert '\ntelemetry_spans_exported_total{destination=""} 2.0\n' in text
    assert '\ntelemetry_spans_exported_total{destination="gone"} 0.0\n' in text
    assert '\ntelemetry_spans_dropped_total{destination="gone",reason="export_failed"} 2.0\n' in text


async def test_one_that_hangs_holds_up_nobody(telemetry, receivers):
    """Neither the other receivers nor whoever is traced."""
    first, hangs = receivers(otlp.GRPC), receivers(otlp.GRPC)
    hangs.gate.clear()
    await telemetry.apply(settings.from_spec(spec(first, hangs=hangs)))
    for _ in range(50):
        review(telemetry)
    await come(first, 100)
    assert telemetry.additional["hangs"].sent == 0
    hangs.gate.set()
    await come(hangs, 100)


async def test_one_that_hangs_for_long_fills_the_memory_of_nobody_else(telemetry, receivers):
    """It loses what it has no room for; the others lose no span, and requests under way no step."""
    first, hangs = receivers(otlp.GRPC), receivers(otlp.GRPC)
    hangs.gate.clear()
    await telemetry.apply(settings.from_spec(spec(first, hangs=hangs)))
    under_way = telemetry.begin(PARENT, None, 0)
    reviews = 0
    while not telemetry.additional["hangs"].dropped[export.Reason.MEMORY_FULL]:
        for _ in range(20):
            long_review(telemetry)
        reviews += 20
        assert await asyncio.to_thread(telemetry.queue.flush, PATIENCE)
    for step in range(2_000):
        under_way.extend([(1, step, 10), ("pass", "", 20)])
    for _ in range(20):
        long_review(telemetry)
    assert await asyncio.to_thread(telemetry.queue.flush, PATIENCE)
    mine = telemetry.queue.status()
    assert (mine.sent, sum(mine.dropped.values())) == ((reviews + 20) * 51, 0)
    assert under_way.dropped == 0
    hangs.gate.set()


async def test_what_each_may_hold_follows_how_many_there_are(telemetry, receivers):
    """All of them together never more than one alone: what the first has no room for any more is dropped."""
    first, second = receivers(otlp.GRPC), receivers(otlp.GRPC)
    first.gate.clear()
    await telemetry.apply(settings.from_spec(spec(first)))
    rooms = [memory.DESTINATIONS, memory.DESTINATIONS // 2, memory.DESTINATIONS]
    assert telemetry.queue.room.limit == rooms[0]
    while not telemetry.queue.status().dropped[export.Reason.MEMORY_FULL]:
        long_review(telemetry)
    lost = telemetry.queue.status().dropped[export.Reason.MEMORY_FULL]
    assert telemetry.queue.room.held > rooms[1]
    await telemetry.apply(settings.from_spec(spec(first, second=second)))
    assert telemetry.queue.room.limit == rooms[1] >= telemetry.queue.room.held
    assert telemetry.queue.status().dropped[export.Reason.MEMORY_FULL] > lost
    await telemetry.apply(settings.from_spec(spec(first)))
    assert telemetry.queue.room.limit == rooms[2]
    first.gate.set()


async def test_they_get_spans_also_where_the_first_gets_none(telemetry, receivers):
    """Since the environment says that its endpoint is nobody's; and the first may come back."""
    first, second = receivers(otlp.GRPC), receivers(otlp.GRPC)
    wanted = spec(first, second=second)
    del wanted["traces"]["endpoint"]
    await telemetry.apply(settings.from_spec(wanted, {"OTEL_TRACES_EXPORTER": "none"}))
    review(telemetry)
    work(telemetry)
    await come(second, 3)
    assert telemetry.queue.status().sent == sum(telemetry.queue.status().dropped.values()) == 0
    await telemetry.apply(settings.from_spec(spec(first, second=second)))
    review(telemetry)
    await come(first, 2)
    await come(second, 5)


async def test_destinations_come_move_and_go_while_spans_come(telemetry, receivers):
    """What was not delivered goes along; a name that comes back goes on counting."""
    first, second, moved = receivers(otlp.GRPC), receivers(otlp.GRPC), receivers(otlp.HTTP)
    await telemetry.apply(settings.from_spec(spec(first)))
    review(telemetry)
    await telemetry.apply(settings.from_spec(spec(first, other=second)))
    review(telemetry)
    await come(second, 2)
    await counted(telemetry, "other", 2)
    await telemetry.apply(settings.from_spec(spec(first, other=moved)))
    review(telemetry)
    await come(moved, 2)
    await counted(telemetry, "other", 4)
    await telemetry.apply(settings.from_spec(spec(first)))
    review(telemetry)
    await come(first, 8)
    assert telemetry.additional["other"].sent == 4
    assert (len(second.spans), len(moved.spans)) == (2, 2)
    await telemetry.apply(settings.from_spec(spec(first, other=second)))
    review(telemetry)
    await come(second, 4)
    await asyncio.to_thread(waiting.until, "it goes on counting", lambda: telemetry.additional["other"].sent == 6)


async def test_all_destinations_change_or_none(telemetry, receivers):
    """A Secret that is missing for one leaves all as they were."""
    first, second = receivers(otlp.GRPC), receivers(otlp.GRPC)
    await telemetry.apply(settings.from_spec(spec(first)))
    wrong = spec(second, third=second)
    wrong["traces"]["additional"][0] |= {"insecure": False, "tls": {"caSecretRef": {"name": "ca", "key": "ca.pem"}}}
    with pytest.raises(errors.SecretMissing, match=r"traces.additional\[third\].tls"):
        await telemetry.apply(settings.from_spec(wrong))
    review(telemetry)
    await come(first, 2)
    assert second.spans == []
    assert telemetry.additional == {}


@pytest.mark.parametrize(
    ("additional", "path"),
    [
        ([{"endpoint": "a:1"}], "traces.additional[0].name"),
        ([{"name": "a"}], "traces.additional[0].endpoint"),
        ([{"name": "a", "endpoint": "a"}], "traces.additional[0].endpoint"),
        ([{"name": "a", "endpoint": "a:1"}, {"name": "a", "endpoint": "b:1"}], "traces.additional[1].name"),
        ([{"name": "a", "endpoint": "a:1", "timeout": "1h"}], "traces.additional[0].timeout"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_field(additional, path):
    """By its place in the list."""
    with pytest.raises(errors.SettingsInvalid) as refused:
        settings.from_spec({"traces": {"additional": additional}})
    assert refused.value.path == path


def test_the_environment_says_nothing_about_where_additional_ones_are_and_what_they_are_told():
    """Its endpoint, headers and certificates are for the first destination."""
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://env:1", "OTEL_EXPORTER_OTLP_HEADERS": "authorization=s3cr3t"}
    traces = settings.from_spec({"traces": {"additional": [{"name": "a", "endpoint": "a:1"}]}}, environ).traces
    (additional,) = traces.additional
    assert (traces.endpoint, additional.endpoint, additional.headers) == ("env:1", "a:1", ())
    assert not additional.plaintext


def test_shared_spans_are_made_once_and_made_again_only_if_that_failed():
    """By whoever ships first."""
    calls = itertools.count(1)

    def make():
        if next(calls) == 1:
            raise ValueError("not yet")
        return [b"span"]

    shared = sharing.Shared(1, 100, make)
    with pytest.raises(ValueError, match="not yet"):
        shared.spans()
    assert shared.spans() is shared.spans()
    assert next(calls) == 3
