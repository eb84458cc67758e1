"""Metrics on the wire: pushed beside being scraped, from the same cells, to receivers that change."""

import pytest

from kymograph.telemetry import cells, errors, providers, settings
from kymograph.telemetry.instruments import labels
from support import metricreceivers, otlpservice, scraped

REVIEW = labels.Review("Pod", "default", "create", "true", "ValidatingWebhookConfiguration")
PATIENCE = 30.0


@pytest.fixture
def started():
    """Start receivers; they stop with the test."""
    receivers = []

    def start(protocol=otlpservice.GRPC, **given):
        receivers.append(metricreceivers.Receiver(protocol, **given))
        return receivers[-1]

    yield start
    for receiver in receivers:
        receiver.stop()


@pytest.fixture
async def telemetry(started):  # shut down while the receivers are there
    made = providers.Telemetry(lambda _, subject: (str(subject), {}), facts={"service.instance.id": "i"}, environ={})
    yield made
    await made.shutdown(PATIENCE)


async def configure(telemetry, receiver, **fields):
    pushed = None
    if receiver is not None:
        protocol = receiver.protocol
        pushed = {"endpoint": receiver.endpoint, "protocol": protocol, "interval": "1s", **fields.pop("otlp", {})}
    await telemetry.apply(settings.from_spec({"metrics": {"otlp": pushed, **fields}}))


@pytest.mark.parametrize("protocol", otlpservice.PROTOCOLS)
async def test_a_push_and_a_scrape_say_the_same(telemetry, started, protocol):
    receiver = started(protocol)
    telemetry.instruments.admission_requests.bind(REVIEW).add(3)
    telemetry.instruments.admission_review_duration.bind(REVIEW).record(0.3)
    await configure(telemetry, receiver)
    (requests,) = receiver.wait_for("admission_requests")[:1]
    assert (requests.as_int, len(requests.attributes)) == (3, 4)  # no namespace, which nobody asked for
    (duration,) = receiver.wait_for("admission_review_duration_seconds")[:1]
    assert (duration.count, duration.sum, len(duration.explicit_bounds)) == (1, 0.3, 15)
    assert receiver.resources[0]["service.instance.id"] == "i"
    assert receiver.wait_for("telemetry_spans_exported")
    text = scraped.text(telemetry)
    assert 'request_webhook="ValidatingWebhookConfiguration"} 3\n' in text
    if protocol == otlpservice.HTTP:
        assert set(receiver.paths) == {"/v1/metrics"}


async def test_names_in_otlp_are_kyvernos_instruments_under_the_prefix(telemetry, started):
    receiver = started()
    telemetry.instruments.admission_requests.bind(REVIEW).add(3)
    telemetry.instruments.admission_refused.bind(("too_large",)).add()
    await configure(telemetry, receiver, prefix="kyverno_")
    assert receiver.wait_for("kyverno_admission_requests")
    names = {metric.name for metric in receiver.metrics}
    assert {"kyverno_admission_requests", "admission_refused"} <= names
    assert not {name for name in names if name.endswith("_total")}
    assert "\nkyverno_admission_requests_total{" in scraped.text(telemetry)


async def test_a_swap_between_live_receivers_loses_no_difference(telemetry, started):
    telemetry.push._grace = PATIENCE  # a receiver that is slow has time: what it got is not told to the next as well
    cell = telemetry.instruments.admission_requests.bind(REVIEW)
    receivers = [started(), started(otlpservice.HTTP), started()]
    for number, receiver in enumerate(receivers):
        cell.add(10**number)
        await configure(telemetry, receiver, otlp={"temporality": "delta"})
    assert receivers[-1].wait_for("telemetry_spans_pending")
    await telemetry.shutdown(PATIENCE)
    told = [point.as_int for receiver in receivers for point in receiver.points("admission_requests")]
    assert sum(told) == 111


async def test_a_dead_receiver_is_an_error_in_the_status_and_told_all_when_it_is_back(telemetry, started, port):
    receiver = started(port=port)
    receiver.stop()
    telemetry.instruments.admission_requests.bind(REVIEW).add(3)
    await configure(telemetry, receiver, otlp={"temporality": "delta"})
    telemetry.instruments.admission_requests.bind(REVIEW).add(1)
    back = started(port=port)
    assert back.wait_for("admission_requests", lambda points: sum(each.as_int for each in points) == 4)
    assert telemetry.push.wait(lambda status: status.sent > 0, PATIENCE)


async def test_the_last_numbers_are_pushed_at_the_end(started):
    receiver = started()
    made = providers.Telemetry(lambda _, subject: (str(subject), {}), facts={}, environ={})
    await configure(made, receiver, otlp={"interval": "1h"})
    assert receiver.wait_for("telemetry_spans_exported")
    made.instruments.admission_requests.bind(REVIEW).add(3)
    await made.shutdown(PATIENCE)
    assert receiver.points("admission_requests")[-1].as_int == 3


async def test_settings_that_name_what_there_is_not_change_nothing(telemetry, started):
    receiver = started()
    await configure(telemetry, receiver)
    with pytest.raises(errors.SettingsInvalid, match=r"metrics.exposure\[requests\]: there is no such metric"):
        await configure(telemetry, None, exposure={"requests": {}})
    assert telemetry.in_force.metrics.otlp.endpoint == receiver.endpoint
    telemetry.instruments.admission_requests.bind(REVIEW).add(3)
    assert receiver.wait_for("admission_requests")


async def test_rejected_points_are_counted(telemetry, started):
    receiver = started()
    receiver.reject = 2
    await configure(telemetry, receiver)
    assert telemetry.push.wait(lambda status: status.dropped >= 2, PATIENCE)
    assert telemetry.push.status().last_error == "too old"


async def test_exemplars_are_pushed(telemetry, started):
    receiver = started()
    cell = telemetry.instruments.admission_review_duration.bind(REVIEW)
    cell.record(0.3)
    cell.exemplify(cells.Mark(0.3, 1_000, 0xABC, 0xDEF))
    await configure(telemetry, receiver)
    (point,) = receiver.wait_for("admission_review_duration_seconds")[:1]
    (exemplar,) = point.exemplars
    assert (exemplar.as_double, exemplar.trace_id, exemplar.span_id) == (
        0.3,
        (0xABC).to_bytes(16, "big"),
        (0xDEF).to_bytes(8, "big"),
    )
