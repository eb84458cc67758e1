"""What the webhook server counts of each request that a handler answers, a review or not. Refusals count apart."""

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping

from kymograph.controllers.admission import server
from kymograph.telemetry.cells import CounterCell, HistogramCell
from kymograph.telemetry.instruments import Instruments

MOST_BOUND = 2_000
"""Paths and status codes whose cells are kept bound: paths below a webhook are whatever a client sends."""

_METHOD = "POST"
"""No other method reaches a handler."""


class CountedRoutes(Mapping[str, server.Handler]):
    """Handlers that count what they answer.

    Args:
        routes: The handlers by path.
        instruments: The instruments of the process.
        clock: Monotonic nanoseconds.
    """

    def __init__(
        self,
        routes: Mapping[str, server.Handler],
        instruments: Instruments,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._routes = routes
        self._instruments = instruments
        self._clock = clock
        self._bound: dict[tuple[str, int], tuple[CounterCell, HistogramCell, HistogramCell]] = {}
        self._handlers: dict[server.Handler, server.Handler] = {}
        instruments.registry.on_rebinding(self._bound.clear)

    def __getitem__(self, path: str) -> server.Handler:
        handler = self._routes[path]
        counted = self._handlers.get(handler)
        if counted is None:
            counted = self._handlers[handler] = self._counted(handler)
        return counted

    def __iter__(self) -> Iterator[str]:
        return iter(self._routes)

    def __len__(self) -> int:
        return len(self._routes)

    def _counted(self, handler: server.Handler) -> server.Handler:
        clock = self._clock

        async def awaited(path: str, began: int, answering: Awaitable[server.Answer]) -> server.Answer:
            answer = await answering
            self._count(path, answer, clock() - began)
            return answer

        def handle(http: server.Request) -> server.Answer | Awaitable[server.Answer]:
            began = clock()
            answer = handler(http)
            if isinstance(answer, bytes | server.Response):
                self._count(http.path, answer, clock() - began)
                return answer
            return awaited(http.path, began, answer)

        return handle

    def _count(self, path: str, answer: server.Answer, duration: int) -> None:
        status = answer.status if isinstance(answer, server.Response) else 200
        cells = self._bound.get((path, status))
        if cells is None:
            cells = self._bind(path, status)
        requests, durations, served = cells
        seconds = duration / 1e9
        requests.add()
        durations.record(seconds)
        served.record(seconds)

    def _bind(self, path: str, status: int) -> tuple[CounterCell, HistogramCell, HistogramCell]:
        if len(self._bound) >= MOST_BOUND:
            self._bound.clear()
        made = self._instruments
        cells = self._bound[path, status] = (
            made.http_requests.bind((_METHOD, path)),
            made.http_requests_duration.bind((_METHOD, path)),
            made.http_server_duration.bind((_METHOD, path, str(status))),
        )
        return cells
