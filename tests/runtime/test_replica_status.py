"""What replicas say of themselves comes to one status: whatever is wrong with any of them is in it."""

import pytest

from kymograph.model import tracingconfiguration as model
from kymograph.runtime import replicastatus

NOW, EARLIER = "2024-03-01T12:00:00Z", "2024-02-01T00:00:00Z"
DELIVERED, FAILED, NEVER = ("True", "Delivered"), ("False", "ExportFailed"), ("Unknown", "NothingSent")


def exporter(signal="traces", *, success="", error="", sent=0, name=""):
    told = {"signal": signal, "endpoint": f"{signal}:4317", "sent": sent, "dropped": 1}
    extra = {"name": name, "lastSuccess": success, "lastError": error}
    return told | {key: value for key, value in extra.items() if value}


def said(name, *exporters, accepted="True", generation=3, exporting=NEVER):
    def condition(kind, status, reason):
        return {"type": kind, "status": status, "reason": reason, "message": f"{kind} of {name}"}

    conditions = [condition("Accepted", accepted, "PortTaken"), condition("Exporting", *exporting)]
    exporters = list(exporters)
    return {"name": name, "observedGeneration": generation, "conditions": conditions, "exporters": exporters}


def alone(*exporters, **more):
    return {key: value for key, value in said("leader", *exporters, **more).items() if key != "name"}


def combined(own, *others, before=None):
    return replicastatus.combined(own, others, before or {}, NOW)


def condition(status, kind):
    return next(each for each in status["conditions"] if each["type"] == kind)


def test_one_replica_is_told_as_it_tells_of_itself() -> None:
    """Nothing about replicas, where there is one."""
    own = alone(exporter(success=NOW, sent=7), exporting=DELIVERED)
    status = combined(own)
    assert condition(status, "Exporting")["message"] == "Exporting of leader"
    assert (status["signals"], status["inForce"]) == ("traces", "1/1")
    assert status["exporters"] == [
        {"signal": "traces", "endpoint": "traces:4317", "sent": 7, "dropped": 1, "lastSuccess": NOW, "failing": 0}
    ]


@pytest.mark.parametrize(
    ("own", "other", "expected", "signals"),
    [
        (exporter(success=NOW), exporter(success=NOW), DELIVERED, "traces"),
        (exporter(success=NOW), exporter(), DELIVERED, "traces"),
        (exporter(), exporter(success=NOW), DELIVERED, "traces"),
        (exporter(), exporter(), NEVER, "traces (nothing sent)"),
        (exporter(success=NOW), exporter(error="refused"), FAILED, "traces (failing)"),
        (exporter(error="refused"), exporter(success=NOW), FAILED, "traces (failing)"),
        (exporter(success=NOW), exporter("logs", success=NOW), DELIVERED, "traces, logs"),
        (exporter(success=NOW), exporter(error="x", name="vendor"), FAILED, "traces, traces to vendor (failing)"),
    ],
)
def test_exporting_is_true_when_each_signal_gets_through_and_fails_nowhere(own, other, expected, signals) -> None:
    """A replica that nobody asked has nothing to send."""
    status = combined(alone(own), said("two", other))
    exporting = condition(status, "Exporting")
    assert (exporting["status"], exporting["reason"]) == expected
    assert status["signals"] == signals


def test_counts_are_added_up_and_the_message_says_how_many_fail() -> None:
    """The latest success, the first error."""
    status = combined(
        alone(exporter(success=EARLIER, sent=2)), said("two", exporter(success=NOW, sent=3, error="refused"))
    )
    (entry,) = status["exporters"]
    assert (entry["sent"], entry["dropped"], entry["lastSuccess"], entry["failing"]) == (5, 2, NOW, 1)
    message = condition(status, "Exporting")["message"]
    assert message == "traces:4317 does not take traces: refused (on 1 of 2 replicas)"


def test_a_replica_that_does_not_accept_it_is_named() -> None:
    """With its reason; one that has not seen this generation yet has no say."""
    status = combined(alone(), said("two"), said("three", accepted="False"))
    accepted = condition(status, "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "PortTaken")
    assert accepted["message"] == "three: Accepted of three"
    assert status["inForce"] == "2/3"
    late = combined(alone(), said("two", accepted="False", generation=2))
    assert condition(late, "Accepted")["status"] == "True"
    assert late["inForce"] == "1/2"


@pytest.mark.parametrize(("was", "since"), [("False", EARLIER), ("True", NOW), (None, NOW)])
def test_a_transition_is_that_of_all_replicas_together(was, since) -> None:
    """Whatever the leader alone says."""
    before = {"conditions": [{"type": "Exporting", "status": was, "lastTransitionTime": EARLIER}] if was else []}
    status = combined(alone(exporter(success=NOW)), said("two", exporter(error="refused")), before=before)
    assert condition(status, "Exporting")["lastTransitionTime"] == since


def test_a_replica_is_there_while_its_entry_changes() -> None:
    """By the clock of whoever looks: that of the replica may be wrong."""
    presence, first, second = replicastatus.Presence(), {"name": "a", "n": 1}, {"name": "b", "n": 1}
    assert presence.present([first, second], 0, 10) == [first, second]
    assert presence.present([{"name": "a", "n": 2}, second], 9, 10) == [{"name": "a", "n": 2}, second]
    assert presence.present([{"name": "a", "n": 2}, second], 11, 10) == [{"name": "a", "n": 2}]
    assert presence.gone == ["b"]
    assert presence.present([{"name": "a", "n": 2}], 12, 10) == [{"name": "a", "n": 2}]
    assert presence.gone == []


def test_each_replica_is_a_field_manager_of_its_own() -> None:
    """By names that the API server takes, however long those of Pods are."""
    document, manager = replicastatus.applied("kymograph-7d9f-x2x", [{"name": "kymograph-7d9f-x2x"}])
    assert manager == "kymograph-kymograph-7d9f-x2x"
    assert document["status"] == {"replicas": [{"name": "kymograph-7d9f-x2x"}]}
    assert replicastatus.applied("a", [])[0]["status"] == {}
    long = {replicastatus.applied("p" * 200 + each, [])[1] for each in "ab"}
    assert len(long) == 2
    assert max(map(len, long)) <= replicastatus.MOST_MANAGER


def test_status_and_entry_fit_the_crd() -> None:
    """A field that the schema does not know is pruned, and an entry with one is refused."""
    schema = model.TRACING_CONFIGURATION.versions[0].schema["properties"]["status"]["properties"]
    own = alone(exporter(error="x" * 2_000))
    status = combined(own, said("two", exporter(error="y")))
    assert set(status) <= set(schema)
    known = schema["exporters"]["items"]["properties"]
    assert all(set(each) <= set(known) for each in status["exporters"])
    entry = replicastatus.entry("leader", own, NOW)
    known = schema["replicas"]["items"]["properties"]
    assert set(entry) <= set(known)
    assert all(set(each) <= set(known["exporters"]["items"]["properties"]) for each in entry["exporters"])
    assert len(entry["exporters"][0]["lastError"]) == replicastatus.MOST_MESSAGE
