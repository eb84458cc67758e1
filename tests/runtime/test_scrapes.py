"""Scrapes are answered piece by piece: what a scraper does costs one piece and one of a few turns."""

import asyncio
import gzip
import http.client
import itertools
import logging
import socket
import threading

import aiohttp
import pytest
from aiohttp import web

from kymograph.runtime import health, scrapes
from kymograph.telemetry import exposition, prometheus

PIECE = b"# a comment\n" * (exposition.PIECE // 12)
PLENTY = 20_000
"""Pieces, 640 MiB of them: more than all buffers between two sockets take."""


class Written:
    """Writes pieces; remembers what it was asked for, how many it made, and in which threads."""

    def __init__(self) -> None:
        self.pieces = [b"one\n", b"two\n"]
        self.asked = []
        self.made = 0
        self.threads = set()
        self.gate = threading.Event()
        self.gate.set()

    def scrape(self, accept, *, compressed):
        self.asked.append((accept, compressed))
        return prometheus.Scrape("text/plain", self._compressed() if compressed else self._pieces())

    def _pieces(self):
        for piece in self.pieces:
            self.threads.add(threading.get_ident())
            self.made += 1
            if isinstance(piece, Exception):
                raise piece
            yield piece
            assert self.gate.wait(60)

    def _compressed(self):
        yield b""
        yield gzip.compress(b"".join(self._pieces()))


@pytest.fixture
def written():
    made = Written()
    yield made
    made.gate.set()


@pytest.fixture
async def served(written, unused_tcp_port):
    """Serve scrapes with limits of one's own; gives the URL."""
    runners = []

    async def serve(patience=60.0, longest=60.0):
        application = web.Application()
        application.router.add_get("/metrics", scrapes.Scrapes(written, patience, longest).answer)
        runners.append(await health.listen(application, unused_tcp_port, "127.0.0.1"))
        return f"http://127.0.0.1:{unused_tcp_port}/metrics"

    yield serve
    written.gate.set()
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def session():
    async with aiohttp.ClientSession(auto_decompress=False, skip_auto_headers=["Accept-Encoding"]) as made:
        yield made


async def get(session, url, **headers):
    async with session.get(url, headers=headers) as answer:
        return answer.status, await answer.read(), answer.headers


def deaf(url):
    """A scraper that has asked and does not read."""
    host, port = url.split("/")[2].split(":")
    connection = socket.create_connection((host, int(port)))
    connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: metrics\r\n\r\n")
    return connection


async def answered(session, url):
    """Whether a scrape comes to its end."""
    try:
        return (await get(session, url))[0] == 200
    except aiohttp.ClientError:
        return False


async def happened(what):
    """Wait for it."""
    async with asyncio.timeout(60):
        while not what():  # noqa: ASYNC110 - what is looked at has no event
            await asyncio.sleep(0.01)


async def test_pieces_are_written_apart_from_requests_and_handed_on_as_they_are(served, session, written) -> None:
    """Nobody who waits for a review waits for a scrape."""
    status, body, headers = await get(session, await served(), Accept="application/openmetrics-text")
    assert (status, body) == (200, b"one\ntwo\n")
    assert (headers["Content-Type"], headers["Transfer-Encoding"]) == ("text/plain", "chunked")
    assert "Content-Encoding" not in headers
    assert written.asked == [("application/openmetrics-text", False)]
    assert threading.get_ident() not in written.threads


@pytest.mark.parametrize(
    ("accepted", "compressed"),
    [
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("gzip; q=1.0, identity", True),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("zstd", False),
        ("", False),
    ],
)
async def test_who_accepts_gzip_gets_it(served, session, accepted, compressed) -> None:
    """Prometheus does; whether it does is a part of what is answered."""
    _, body, headers = await get(session, await served(), **{"Accept-Encoding": accepted})
    assert headers.get("Content-Encoding") == ("gzip" if compressed else None)
    assert headers["Vary"] == "Accept-Encoding"
    assert (gzip.decompress(body) if compressed else body) == b"one\ntwo\n"


async def test_who_asks_for_the_head_gets_no_body(served, session) -> None:
    """And the connection can be used again."""
    url = await served()
    for _ in range(2):
        async with session.head(url) as answer:
            assert (answer.status, answer.headers["Content-Type"], await answer.read()) == (200, "text/plain", b"")
    assert (await get(session, url))[1] == b"one\ntwo\n"


async def test_what_fails_at_once_is_an_error(served, session, written) -> None:
    """Nothing was said yet."""
    written.pieces = [RuntimeError("no metrics")]
    assert (await get(session, await served()))[0] == 500


async def test_what_fails_later_is_no_scrape(served, session, written, caplog) -> None:
    """The body has no end: half of the metrics would be taken for all there are. The turn is somebody else's then."""
    url = await served()
    whole, written.pieces = written.pieces, [PIECE, RuntimeError("no more")]
    for _ in range(scrapes.TURNS + 1):
        with pytest.raises(aiohttp.ClientError):
            await get(session, url)
    assert "could not be written to its end" in caplog.text
    written.pieces = whole
    assert (await get(session, url))[:2] == (200, b"one\ntwo\n")


async def test_who_has_to_wait_too_long_is_told(served, session, written) -> None:
    """Turns are few, whoever has them; they are given back."""
    url = await served(patience=0.1)
    written.gate.clear()
    first = [asyncio.create_task(get(session, url)) for _ in range(scrapes.TURNS)]
    await happened(lambda: written.made == scrapes.TURNS)
    status, body, headers = await get(session, url)
    assert (status, headers["Retry-After"]) == (503, "5")
    assert body.startswith(f"{scrapes.TURNS} other scrapes are under way".encode())
    written.gate.set()
    assert {(status, body) for status, body, _ in await asyncio.gather(*first)} == {(200, b"one\ntwo\n")}
    assert (await get(session, url))[0] == 200


async def test_who_waits_for_a_turn_gets_it(served, session, written) -> None:
    """More scrapers than turns are all answered, a few at a time."""
    url = await served()
    written.gate.clear()
    asking = [asyncio.create_task(get(session, url)) for _ in range(3 * scrapes.TURNS)]
    await happened(lambda: written.made == scrapes.TURNS)
    assert len(written.asked) == scrapes.TURNS
    written.gate.set()
    assert {(status, body) for status, body, _ in await asyncio.gather(*asking)} == {(200, b"one\ntwo\n")}


async def test_for_who_does_not_read_nothing_is_written(served, session, written, caplog) -> None:
    """Beyond what lies in sockets; and after a while the turn is somebody else's."""
    url = await served(longest=1.0)
    written.pieces = itertools.repeat(PIECE, PLENTY)
    connections = [deaf(url) for _ in range(scrapes.TURNS)]
    await happened(lambda: caplog.text.count("was not read within 1 s") == scrapes.TURNS)
    assert 0 < written.made < PLENTY
    written.pieces = [b"one\n"]
    async with asyncio.timeout(60):
        while not await answered(session, url):  # what is left of this one's second may be too short, too
            pass
    for connection in connections:
        connection.close()


async def test_who_goes_away_leaves_its_turn_and_no_trace(served, session, written, caplog) -> None:
    """It is no error, and nothing is written any more."""
    caplog.set_level(logging.INFO)
    url = await served()
    written.pieces = itertools.repeat(PIECE, PLENTY)
    for connection in [deaf(url) for _ in range(scrapes.TURNS)]:
        await asyncio.to_thread(connection.recv, 1)
        connection.close()
    written.pieces = [b"one\n"]
    assert (await get(session, url))[:2] == (200, b"one\n")
    assert written.made < PLENTY
    assert [each for each in caplog.records if each.name.startswith(("kymograph", "aiohttp"))] == []


async def test_scrapers_of_old_are_answered(served, unused_tcp_port) -> None:
    """HTTP/1.0 knows no pieces: there the end of the connection is the end of the body."""
    await served()

    def ask():
        connection = http.client.HTTPConnection("127.0.0.1", unused_tcp_port)
        connection._http_vsn, connection._http_vsn_str = 10, "HTTP/1.0"
        connection.request("GET", "/metrics")
        return connection.getresponse().read()

    assert await asyncio.to_thread(ask) == b"one\ntwo\n"
