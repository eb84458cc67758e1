"""UpdateRequests hold what reviews said, which anybody may forge: none of them ends the work on the others."""

import pytest

from support import background
from support.background import namespace, until
from support.writtenpolicies import generating


@pytest.fixture
async def work():
    async with background.work() as made:
        yield made


@pytest.mark.parametrize(
    "old",
    [
        {"metadata": {"resourceVersion": 5}},
        {"metadata": {"resourceVersion": ["x"]}},
        {"metadata": {"resourceVersion": "9" * 5_000}},
        {"metadata": {"resourceVersion": "²"}},
        {"metadata": "text"},
    ],
)
async def test_an_object_before_that_never_was_is_no_reason_to_end(work, old) -> None:
    """Its version tells what comes first, if it is one."""
    work.enforce(generating())
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    poisoned = await work.ask(trigger, operation="UPDATE", old={"metadata": {}})
    stored = work.cluster.stored["updaterequests", background.SPACE, poisoned]
    stored["spec"]["context"]["admissionRequestInfo"]["admissionRequest"]["oldObject"] = old
    async with work.leading():
        assert (await work.ended(await work.ask(trigger)))["state"] == "Completed"


async def test_a_request_that_cannot_be_read_leaves_the_others_alone(work) -> None:
    """Whoever wrote it; it is left where it is."""
    work.enforce(generating())
    trigger = await work.cluster.put("namespaces", namespace("shop"))
    odd = await work.ask(trigger)
    del work.cluster.stored["updaterequests", background.SPACE, odd]["spec"]["policy"]
    async with work.leading():
        assert (await work.ended(await work.ask(trigger)))["state"] == "Completed"
        await until(lambda: work.content("c", "shop"))
    assert not work.status(odd)
