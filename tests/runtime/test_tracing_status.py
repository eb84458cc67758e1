"""What the author of a TracingConfiguration is told, case by case."""

import datetime as dt

import pytest

from kymograph.model import tracingconfiguration as model
from kymograph.runtime import errors, tracingstatus
from kymograph.telemetry import errors as telemetry_errors
from kymograph.telemetry import export, partial, push, settings

NOW = dt.datetime(2024, 3, 1, 12, tzinfo=dt.UTC)
STAMP, EARLIER = "2024-03-01T12:00:00Z", "2024-02-01T00:00:00Z"
SINCE = 1_000


def signal(last_success=None, last_error_at=None, name="traces", error="refused"):
    """A signal that goes to its endpoint since 1000, and when it was delivered and when not."""
    return tracingstatus.Exporting(
        name, "collector:4317", SINCE, 7, 2, last_success, error if last_error_at else None, last_error_at
    )


def render(*signals, problem=None, status=None):
    document = {"metadata": {"generation": 3}, **({"status": status} if status is not None else {})}
    return tracingstatus.render(document, problem, signals, NOW)


def test_an_additional_destination_is_told_by_its_name() -> None:
    """Each exporter has its entry, and the sentence says which one fails."""
    additional = tracingstatus.Exporting("traces", "vendor:4317", SINCE, 0, 3, None, "refused", 2_000, "vendor")
    status = render(signal(last_success=2_000), additional)
    assert [entry.get("name", "") for entry in status["exporters"]] == ["", "vendor"]
    exporting = condition(status, "Exporting")
    assert (exporting["status"], exporting["reason"]) == FAILED
    assert exporting["message"].startswith("vendor:4317 does not take traces: refused")


def test_every_exporter_of_the_settings_has_its_entry() -> None:
    """Traces, their additional destinations, metrics and logs; what became of each is its own."""
    spec = {
        "traces": {"endpoint": "a:1", "additional": [{"name": "b", "endpoint": "b:1"}]},
        "metrics": {"otlp": {"endpoint": "c:1"}},
        "logs": {"otlp": {"endpoint": "d:1"}},
    }
    applied = settings.from_spec(spec)
    assert list(tracingstatus.paths(applied)) == ["traces", "traces.additional[b]", "metrics.otlp", "logs.otlp"]
    status = [export.ExportStatus(sent, {export.Reason.QUEUE_FULL: sent}, 0, None, None, None) for sent in (1, 2, 3)]
    found = tracingstatus.exporting(applied, {}, status[0], push.PushStatus(4, 4), status[1], {"b": status[2]})
    assert [(each.signal, each.name, each.endpoint, each.sent, each.dropped) for each in found] == [
        ("traces", "", "a:1", 1, 1),
        ("traces", "b", "b:1", 3, 3),
        ("metrics", "", "c:1", 4, 4),
        ("logs", "", "d:1", 2, 2),
    ]


def test_an_exporter_that_the_environment_takes_away_has_none() -> None:
    """Additional destinations go on without the first."""
    spec = {"traces": {"additional": [{"name": "b", "endpoint": "b:1"}]}}
    applied = settings.from_spec(spec, {"OTEL_TRACES_EXPORTER": "none"})
    assert list(tracingstatus.paths(applied)) == ["traces.additional[b]"]


def test_a_disabled_sdk_is_told() -> None:
    """The author of the resource did not do it."""
    status = tracingstatus.render({"metadata": {"generation": 3}}, None, [], NOW, disabled=True)
    exporting = condition(status, "Exporting")
    assert (exporting["status"], exporting["reason"]) == ("False", "Disabled")
    assert "OTEL_SDK_DISABLED" in exporting["message"]


def condition(status, kind):
    return {each["type"]: each for each in status["conditions"]}[kind]


NEVER_SENT = ("Unknown", "NothingSent")
DELIVERED = ("True", "Delivered")
FAILED = ("False", "ExportFailed")


@pytest.mark.parametrize(
    ("signals", "expected"),
    [
        pytest.param([], ("False", "NotConfigured"), id="nothing is configured"),
        pytest.param([signal()], NEVER_SENT, id="never sent"),
        pytest.param([signal(last_success=2_000)], DELIVERED, id="delivered"),
        pytest.param([signal(last_error_at=2_000)], FAILED, id="failed at once"),
        pytest.param([signal(last_success=2_000, last_error_at=3_000)], FAILED, id="failed after a delivery"),
        pytest.param([signal(last_success=3_000, last_error_at=2_000)], DELIVERED, id="recovered"),
        pytest.param([signal(last_success=500)], NEVER_SENT, id="delivered to the endpoint before"),
        pytest.param([signal(last_error_at=500)], NEVER_SENT, id="failed at the endpoint before"),
        pytest.param([signal(last_success=500, last_error_at=2_000)], FAILED, id="the new endpoint fails"),
        pytest.param([signal(last_success=2_000, last_error_at=500)], DELIVERED, id="the new endpoint works"),
        pytest.param([signal(2_000), signal(2_000, name="metrics")], DELIVERED, id="both delivered"),
        pytest.param([signal(2_000), signal(name="metrics")], NEVER_SENT, id="one not sent yet"),
        pytest.param([signal(2_000), signal(None, 2_000, name="metrics")], FAILED, id="one fails"),
        pytest.param([signal(), signal(None, 2_000, name="metrics")], FAILED, id="one fails, one not sent yet"),
    ],
)
def test_exporting_says_whether_telemetry_gets_through(signals, expected) -> None:
    """What happened before the configuration was applied says nothing about it."""
    exporting = condition(render(*signals), "Exporting")
    assert (exporting["status"], exporting["reason"]) == expected


def test_the_message_names_the_endpoint_and_the_error_first() -> None:
    """So that `kubectl get` shows what to mend."""
    message = condition(render(signal(2_000), signal(None, 2_000, name="metrics")), "Exporting")["message"]
    assert message == "collector:4317 does not take metrics: refused; collector:4317 takes traces"


IN_USE = partial.LeftOut("metrics.prometheus", errors.PortTaken("port 80: in use"))
NOWHERE = partial.LeftOut("traces", telemetry_errors.SettingsInvalid("traces.endpoint", "it is no host:port"))


@pytest.mark.parametrize(
    ("problem", "reason", "message"),
    [
        (None, "Applied", "The configuration is in force."),
        (
            tracingstatus.not_in_force(IN_USE.error),
            "PortTaken",
            "port 80: in use; the last good configuration goes on.",
        ),
        (
            tracingstatus.in_force_without([IN_USE]),
            "PortTaken",
            "In force without metrics.prometheus. metrics.prometheus: port 80: in use.",
        ),
        (
            tracingstatus.in_force_without([IN_USE, NOWHERE]),
            "PortTaken",
            (
                "In force without metrics.prometheus, traces."
                " metrics.prometheus: port 80: in use; traces.endpoint: it is no host:port."
            ),
        ),
    ],
)
def test_accepted_says_whether_the_configuration_is_in_force(problem, reason, message) -> None:
    """What cannot be used is named, and what goes on: the last good configuration, or the other parts of this one."""
    accepted = condition(render(problem=problem), "Accepted")
    assert accepted["status"] == str(problem is None)
    assert (accepted["reason"], accepted["message"]) == (reason, message)


def test_a_long_reason_does_not_hide_what_is_in_force() -> None:
    """Such as one that lists all metrics there are."""
    problem = tracingstatus.not_in_force(errors.PortTaken("why " * 1_000), redacting=True)
    message = condition(render(problem=problem), "Accepted")["message"]
    assert len(message) == tracingstatus.MOST_MESSAGE
    assert message.endswith("; the last good configuration goes on, and logs.redact of this one holds beside its own.")


@pytest.mark.parametrize(
    ("before", "since"),
    [
        (None, STAMP),
        ({"type": "Accepted", "status": "True", "lastTransitionTime": EARLIER}, EARLIER),
        ({"type": "Accepted", "status": "False", "lastTransitionTime": EARLIER}, STAMP),
        ({"type": "Accepted", "status": "True"}, STAMP),
    ],
)
def test_a_transition_is_dated_when_the_condition_changes(before, since) -> None:
    """Reason and message may change without."""
    status = {"conditions": [before]} if before else {"conditions": None}
    assert condition(render(status=status), "Accepted")["lastTransitionTime"] == since


def test_each_exporter_is_listed_with_its_counts() -> None:
    """The last error only while it lasts, the last success only if it was with this endpoint."""
    delivered, failing = signal(1_709_294_400 * 10**9), signal(None, 2_000, name="metrics", error="x" * 5000)
    first, second = render(delivered, failing)["exporters"]
    assert first == {"signal": "traces", "endpoint": "collector:4317", "sent": 7, "dropped": 2, "lastSuccess": STAMP}
    assert second == {
        "signal": "metrics",
        "endpoint": "collector:4317",
        "sent": 7,
        "dropped": 2,
        "lastError": "x" * 1024,
    }


def test_a_status_fits_the_crd() -> None:
    """Fields, types and lengths; a message that is too long is cut, not refused with all the rest."""
    long = "x" * 10_000
    status = render(signal(2_000), signal(None, 2_000, name="metrics", error=long), problem=("SettingsInvalid", long))
    schema = model.TRACING_CONFIGURATION.versions[0].schema["properties"]["status"]["properties"]
    assert set(status) <= set(schema)
    for listing in ("conditions", "exporters"):
        limits = schema[listing]["items"]["properties"]
        for entry in status[listing]:
            assert set(entry) <= set(limits)
            assert all(
                len(entry[key]) <= limits[key].get("maxLength", 10**6)
                for key in entry
                if key in ("message", "lastError")
            )
    assert {each["observedGeneration"] for each in status["conditions"]} == {status["observedGeneration"]} == {3}


def test_counts_and_times_alone_change_no_judgement() -> None:
    """They are written now and then, conditions at once."""
    before = render(signal(2_000))
    later = tracingstatus.render({"metadata": {"generation": 3}}, None, [signal(9_000)], NOW + dt.timedelta(minutes=1))
    assert tracingstatus.judgement(before) == tracingstatus.judgement(later)
    assert tracingstatus.judgement(before) != tracingstatus.judgement(render(signal(2_000, 3_000)))
    assert tracingstatus.judgement({}) == []
