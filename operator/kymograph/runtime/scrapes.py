"""Answers scrapes piece by piece, so that none of them, nor who reads them, decides how much memory there is to be.

A piece is written in a worker thread, handed to the scraper, and forgotten; the next is written when the scraper has
taken it. So a scraper that reads slowly holds its turn and one piece, and it has its turn for a limited time. Turns are
few: two scrapers do not make each other faster. Who has to wait too long is told so, since it would give up silently.

What fails before the first piece is an answer of its own (500). What fails later cuts the connection without the end
that HTTP demands: a scraper takes such a body for no scrape at all, and not for one in which metrics are missing.
"""

import asyncio
import http
import logging
import re
from typing import Protocol

from aiohttp import hdrs, web

from kymograph.telemetry import exposition, prometheus

logger = logging.getLogger(__name__)

TURNS = 2
"""Scrapes at a time: those of a pair of Prometheus servers. They share `memory.SCRAPES`."""

PATIENCE = 5.0
"""Seconds that a scraper waits for its turn: half of what Prometheus waits for the whole scrape by default."""

LONGEST = 60.0
"""Seconds that a scrape takes at most, far more than any takes whose reader reads."""

_REFUSED = re.compile(r"q=0(\.0{0,3})?")


class Writer(Protocol):
    """Writes metrics; see `prometheus.PullReader`."""

    def scrape(self, accept: str, *, compressed: bool) -> prometheus.Scrape:
        """Begin to write all of them."""


class Scrapes:
    """Answers requests for metrics.

    Args:
        writer: Writes them.
        patience: Seconds that a scraper waits for its turn.
        longest: Seconds that a scrape takes at most.
    """

    def __init__(self, writer: Writer, patience: float = PATIENCE, longest: float = LONGEST) -> None:
        self._writer = writer
        self._patience = patience
        self._longest = longest
        self._turns = asyncio.Semaphore(TURNS)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a request whose sender may have them; 503 where others have all turns."""
        try:
            async with asyncio.timeout(self._patience):
                await self._turns.acquire()
        except TimeoutError:
            text = f"{TURNS} other scrapes are under way for more than {self._patience:g} s; scrape later\n"
            status = http.HTTPStatus.SERVICE_UNAVAILABLE
            return web.Response(status=status, text=text, headers={hdrs.RETRY_AFTER: "5"})
        try:
            return await self._write(request)
        finally:
            self._turns.release()

    async def _write(self, request: web.Request) -> web.StreamResponse:
        compressed = _takes_gzip(request.headers.get(hdrs.ACCEPT_ENCODING, ""))
        scrape = self._writer.scrape(request.headers.get(hdrs.ACCEPT, ""), compressed=compressed)
        response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: scrape.content_type, hdrs.VARY: hdrs.ACCEPT_ENCODING})
        if compressed:
            response.headers[hdrs.CONTENT_ENCODING] = "gzip"
        piece = await asyncio.to_thread(next, scrape.pieces, None)
        await response.prepare(request)
        if request.transport is not None:
            request.transport.set_write_buffer_limits(exposition.PIECE)  # over TLS it would be eight times as much
        if request.method == hdrs.METH_HEAD:
            return response
        try:
            async with asyncio.timeout(self._longest):
                while piece is not None:
                    await response.write(piece)
                    piece = await asyncio.to_thread(next, scrape.pieces, None)
        except ConnectionError:
            return response  # the scraper went away
        except TimeoutError:
            logger.warning("A scrape by %s was not read within %g s and is cut off", request.remote, self._longest)
        except Exception:
            logger.exception("A scrape by %s could not be written to its end and is cut off", request.remote)
        else:
            return response
        if request.transport is not None:
            request.transport.abort()  # at once: nobody waits until the scraper has read what was written
        return response


def _takes_gzip(accepted: str) -> bool:
    """Whether `Accept-Encoding` names gzip and does not refuse it (RFC 9110, 12.5.3)."""
    for member in accepted.lower().split(","):
        coding, _, weight = member.partition(";")
        if coding.strip() == "gzip":
            return _REFUSED.fullmatch(weight.strip()) is None
    return False
