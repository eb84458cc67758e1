"""The process ends when it is told to, or when a part of it that should not end does; then it says which."""

import asyncio
import os
import signal

import pytest

from kymograph.runtime import lifecycle


@pytest.fixture
async def stop():
    yield lifecycle.Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().remove_signal_handler(number)
    asyncio.get_running_loop().set_exception_handler(None)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_asks_to_stop(stop, number) -> None:
    """The kubelet's and the user's."""
    os.kill(os.getpid(), number)
    async with asyncio.timeout(30):
        await stop.asked()
    assert not stop.done.is_set()


async def test_parts_run_while_the_body_runs_and_are_cancelled_after(stop) -> None:
    """Each gets to clean up, whatever it raises then."""
    log = []

    async def part(name):
        log.append(f"{name} runs")
        try:
            await asyncio.Event().wait()
        finally:
            log.append(f"{name} cleans up")

    async def bad():
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("while cleaning up")

    async with lifecycle.supervised([part("a"), bad(), part("b")], stop):
        await asyncio.sleep(0)
        assert log == ["a runs", "b runs"]
    assert log[2:] == ["a cleans up", "b cleans up"]
    assert stop.failure is None


async def test_a_part_that_fails_stops_the_process_with_its_error(stop) -> None:
    """An operator that watches nothing any more must not look alive."""

    async def part():
        raise ValueError("the watch is lost")

    with pytest.raises(ValueError, match="the watch is lost"):
        async with lifecycle.supervised([part()], stop):
            await stop.asked()


async def test_a_part_that_just_ends_stops_the_process_and_is_named(stop) -> None:
    """None should."""

    async def watches_policies():
        pass

    with pytest.raises(RuntimeError, match="watches_policies ended"):
        async with lifecycle.supervised([watches_policies()], stop):
            await stop.asked()


async def test_the_first_failure_is_the_one_that_is_told(stop) -> None:
    """Others follow from it."""
    second = asyncio.Event()

    async def part():
        raise ValueError("the cause")

    async def follower():
        await second.wait()
        raise KeyError("the consequence")

    async with lifecycle.supervised([part(), follower()], stop):
        await asyncio.sleep(0)
        second.set()
        await asyncio.sleep(0.01)
        with pytest.raises(ValueError, match="the cause"):
            await stop.asked()


async def test_what_ends_in_a_stop_is_no_failure(stop) -> None:
    """Once everything is drained, parts may end in any order; a cancelled one never fails the process."""
    over = asyncio.Event()

    async with lifecycle.supervised([over.wait()], stop):
        cancelled = asyncio.create_task(asyncio.sleep(60))
        cancelled.add_done_callback(stop.ended)
        cancelled.cancel()
        stop.done.set()
        over.set()
        await asyncio.sleep(0.01)
    assert stop.failure is None


@pytest.mark.parametrize(("what", "level"), [("transport", "DEBUG"), ("asyncgen", "DEBUG"), ("task", "ERROR")])
async def test_what_breaks_because_it_is_closed_is_no_error_at_a_stop(stop, caplog, what, level) -> None:
    """Connections and generators, from the wish to stop on; what else nobody awaited is an error as ever."""
    loop = asyncio.get_running_loop()
    trouble = {"message": "closed", "exception": RuntimeError("closed"), what: None}
    with caplog.at_level("DEBUG"):
        loop.call_exception_handler(trouble)
        stop.ask()
        loop.call_exception_handler(trouble)
    assert [record.levelname for record in caplog.records if "closed" in record.message] == ["ERROR", level]


@pytest.mark.parametrize(
    ("what", "said", "level"),
    [
        ("transport", "unable to perform operation on <TCPTransport closed=True>; the handler is closed", "DEBUG"),
        ("transport", "something else", "ERROR"),
        ("task", "the handler is closed", "ERROR"),
    ],
)
async def test_a_write_to_a_connection_that_has_ended_is_no_error(stop, caplog, what, said, level) -> None:
    """Whoever used the connection is told by its end; the loop's complaint about TLS's last words is no news."""
    trouble = {"message": "Fatal error on SSL protocol", "exception": RuntimeError(said), what: None}
    with caplog.at_level("DEBUG"):
        asyncio.get_running_loop().call_exception_handler(trouble)
    assert [each.levelname for each in caplog.records if "Fatal error on SSL protocol" in each.message] == [level]
