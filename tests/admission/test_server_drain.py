"""Leaving: nothing that was received is lost, and nobody is waited for without end."""

import asyncio
import threading
import time

import pytest
import uvloop

from kymograph.controllers.admission import server
from support import webhooks


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def served(request):
    with webhooks.serve(request.param, {"/echo": webhooks.echo, "/later": webhooks.echo_later}) as running:
        yield running


def test_drain_under_load_loses_no_request(served):
    """Clients on keep-alive connections, each told once that its connection ends; every request is answered."""
    counts, lost = [], []
    warm = threading.Barrier(9)

    def work(number):
        count = 0
        with served.client() as client:
            while True:
                try:
                    answer = client.post("/later" if number % 2 else "/echo", b"%d" % count)
                except OSError as error:
                    lost.append(error)
                    break
                assert answer.body == b"%d" % count
                count += 1
                if count == 20:
                    warm.wait()
                if answer.headers.get("connection") == "close":
                    break
        counts.append(count)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    warm.wait()
    cut = served.run(served.server.drain(30))
    for thread in threads:
        thread.join()
    assert (cut, lost) == (0, [])
    assert min(counts) >= 20
    assert served.server.connections == 0


def test_a_request_in_flight_is_answered_before_the_server_is_gone(served):
    gate, started = asyncio.Event(), threading.Event()

    async def wait(_):
        started.set()
        await gate.wait()
        return b"done"

    served.routes["/wait"] = wait
    with served.client() as client:
        client.send(webhooks.post("/wait") + webhooks.post("/echo", b"behind it"))
        assert started.wait(30)
        drained = asyncio.run_coroutine_threadsafe(served.server.drain(30), served.loop)
        webhooks.until(lambda: served.server._shared.draining)
        assert not drained.done()
        served.loop.call_soon_threadsafe(gate.set)
        first, second = client.answer(), client.answer()
        assert (first.body, second.body) == (b"done", b"behind it")
        assert second.headers["connection"] == "close"
        assert client.is_closed()
    assert drained.result(30) == 0


def test_no_new_connection_is_accepted(served):
    served.run(served.server.drain(1))
    with pytest.raises(ConnectionError):
        served.client()


def test_an_idle_connection_may_send_one_more_request(served):
    with served.client() as client:
        assert client.post().status == 200
        drained = asyncio.run_coroutine_threadsafe(served.server.drain(30), served.loop)
        webhooks.until(lambda: served.server._shared.draining)
        assert client.post().headers["connection"] == "close"
        assert client.is_closed()
    assert drained.result(30) == 0


def test_a_connection_that_stays_idle_is_closed(served):
    with served.client() as client:
        assert client.post().status == 200
        drained = asyncio.run_coroutine_threadsafe(served.server.drain(1), served.loop)
        assert client.is_closed()
    assert drained.result(30) == 0


def test_what_does_not_end_in_time_is_cut_and_counted(served):
    started, cancelled = threading.Event(), threading.Event()

    async def wait(_):
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    served.routes["/wait"] = wait
    with served.client() as client:
        client.send(webhooks.post("/wait"))
        assert started.wait(30)
        begin = time.monotonic()
        assert served.run(served.server.drain(0.5)) == 1
        assert time.monotonic() - begin < 30
        assert client.is_closed()
    assert cancelled.wait(30)


def test_a_second_drain_and_one_without_a_start_do_nothing(served):
    served.run(served.server.drain(1))
    assert served.run(served.server.drain(1)) == 0
    assert asyncio.run(server.Server({}, server.TLS()).drain(1)) == 0
