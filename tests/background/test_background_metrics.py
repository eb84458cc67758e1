"""What rules come to after a request is counted under the names, and with the labels, of all results of rules."""

import pytest

from kymograph.telemetry import metricsettings
from support import background
from support.background import namespace
from support.writtenpolicies import generating


@pytest.fixture
async def work():
    async with background.work() as made:
        made.kept.telemetry.cells.configure(metricsettings.MetricSettings(by_namespace=True))
        yield made


def counted(work):
    """The series of the results of rules, and how often their durations were taken."""
    read = {each.name: each.data.data_points for each in work.kept.telemetry.cells.read()}
    durations = [(point.attributes, point.count) for point in read.get("policy_execution_duration_seconds", ())]
    results = [(point.attributes, point.value) for point in read.get("policy_results", ())]
    assert results == durations
    return results


async def test_what_a_rule_generated_is_a_result(work) -> None:
    work.enforce(generating())
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    async with work.leading():
        assert (await work.ended(await work.ask(trigger)))["state"] == "Completed"
    ((labels, times),) = counted(work)
    assert times == 1
    assert labels == {
        "policy_validation_mode": "audit",
        "policy_type": "cluster",
        "policy_background_mode": "true",
        "policy_namespace": "-",
        "policy_name": "p",
        "resource_kind": "Namespace",
        "resource_namespace": "",
        "resource_request_operation": "create",
        "rule_name": "r",
        "rule_result": "pass",
        "rule_type": "generate",
        "rule_execution_cause": "background_scan",
        "dry_run": "false",
    }


async def test_what_fails_is_an_error(work) -> None:
    """Counted at each try, which is what it cost."""
    work.enforce(generating(kind="Unheard", apiVersion="example.com/v1"))
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    async with work.leading():
        await work.ask(trigger)
        await background.until(lambda: counted(work))
    assert {labels["rule_result"] for labels, _ in counted(work)} == {"error"}
