"""What is taken in at once, without a queue, is work of a controller like all other: counted, with how it ended."""

import pathlib

from fakes.collection import Collection
from kymograph.controllers import exceptions, policies, policymetrics
from kymograph.controllers.configuration import store as configuration
from support import trees
from support.writtenpolicies import policy, validating

HERE = pathlib.Path(__file__).parent

EXCEPTED = {
    "exceptions": [{"policyName": "p", "ruleNames": ["r"]}],
    "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
}


def outcomes(kept, name):
    """How often work of a controller ended in which way."""
    scraped = kept.scrape()
    prefix = f'controller_reconcile_duration_seconds_count{{controller_name="{name}",outcome="'
    found = {
        series.removeprefix(prefix).removesuffix('"}'): value
        for series, value in scraped.items()
        if series.startswith(prefix)
    }
    assert scraped[f'controller_reconcile_total{{controller_name="{name}"}}'] == sum(found.values())
    return found


async def test_policies_are_compiled(kept) -> None:
    """One that does not compile is work, too; a status that was written is none."""
    store = policies.PolicyStore()
    policymetrics.PolicyMetrics(kept.telemetry.instruments, store)
    good, odd = policy(validating(deny={})), policy({"name": "odd", "match": EXCEPTED["match"]})
    for version, (document, name) in enumerate(((good, "good"), (odd, "odd"), (good, "good")), 1):
        metadata = {"name": name, "uid": name, "resourceVersion": str(version), "generation": 1}
        store.put({**document, "metadata": {**document["metadata"], **metadata}})
    assert outcomes(kept, "policycache-controller") == {"success": 1, "PolicyInvalid": 1}


async def test_exceptions_are_taken_in(kept) -> None:
    """Made, made wrong, and deleted."""
    worked = kept.telemetry.work("exceptions-controller").reconciled
    store = exceptions.ExceptionStore(Collection(), "*", worked, kept.telemetry.tracer)
    for name, spec in (("e", EXCEPTED), ("odd", {**EXCEPTED, "exceptions": []}), ("e", None)):
        document = None if spec is None else {"metadata": {"name": name, "namespace": "ns"}, "spec": spec}
        store._changed(("ns", name), document)
    assert outcomes(kept, "exceptions-controller") == {"success": 2, "PolicyInvalid": 1}
    trees.compare(HERE / "exceptions.tree", kept.finished())


async def test_the_config_map_is_taken_in(kept) -> None:
    """That something of it does not count is the outcome."""
    worked = kept.telemetry.work("config-controller").reconciled
    store = configuration.ConfigurationStore(
        Collection(), "ns", "kymograph", worked=worked, tracer=kept.telemetry.tracer
    )
    for data in ({}, {"resourceFilters": "oops, what"}):
        document = {"metadata": {"name": "kymograph", "namespace": "ns"}, "data": data}
        store._changed(("ns", "kymograph"), document)
    assert outcomes(kept, "config-controller") == {"success": 1, "ConfigurationInvalid": 1}
    trees.compare(HERE / "configuration.tree", kept.finished())
