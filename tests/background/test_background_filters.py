"""Objects that the ConfigMap says no policy is for set nothing off in the background either, as in Kyverno."""

import pytest

from kymograph.controllers.configuration import filters as filtering
from support import background
from support.background import namespace, until
from support.writtenpolicies import generating


@pytest.fixture
async def work():
    async with background.work() as made:
        made.store.filters = filtering.Filters(filtering.parse("[*/*,hidden-*,*]")[0])
        yield made


async def test_existing_triggers_that_are_filtered_are_none(work) -> None:
    """No UpdateRequest is made for them; a filter for a namespace is for the Namespace, too."""
    await work.cluster.put("namespaces", namespace("hidden-a"))
    await work.cluster.put("namespaces", namespace("shop"))
    work.enforce(generating(generateExisting=True))
    async with work.leading():
        await until(lambda: work.content("c", "shop") == {"a": "b"})
    assert work.content("c", "hidden-a") is None
    asked = [each for (plural, _, _), each in work.cluster.stored.items() if plural == "updaterequests"]
    assert {each["spec"]["resource"]["name"] for each in asked} == {"shop"}


async def test_what_was_asked_for_before_its_trigger_was_filtered_is_skipped(work) -> None:
    """And the request says why."""
    work.enforce(generating())
    trigger = await work.cluster.put("namespaces", namespace("hidden-a"))
    async with work.leading():
        status = await work.ended(await work.ask(trigger))
    assert (status["state"], status["message"]) == (
        "Skip",
        "no policy is for Namespace hidden-a: resourceFilters of the ConfigMap leave it out",
    )
    assert work.content("c", "hidden-a") is None
