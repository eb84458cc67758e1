"""What the webhook server counts of each request that a handler answers, a review or not. Refusals count apart.

It is told by route, never by path: what stands below the path of a webhook is for whoever calls to choose.
"""

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping

from kymograph.controllers.admission import server, webhooks
from kymograph.telemetry.cells import CounterCell, HistogramCell
from kymograph.telemetry.instruments import Instruments

OF_ONE_POLICY = f"{webhooks.FINE_GRAINED}{{policy}}"
"""Ends the routes of webhooks that are for one policy each, in place of its key."""

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
        self._handlers: dict[str, server.Handler] = {}
        instruments.registry.on_rebinding(self._bound.clear)

    def __getitem__(self, path: str) -> server.Handler:
        handler = self._routes[path]
        shared, below, _ = path.partition(webhooks.FINE_GRAINED)
        route = f"{shared}{OF_ONE_POLICY}" if below else path
        counted = self._handlers.get(route)
        if counted is None:
            counted = self._handlers[route] = self._counted(handler, route)
        return counted

    def __iter__(self) -> Iterator[str]:
        return iter(self._routes)

    def __len__(self) -> int:
        return len(self._routes)

    def _counted(self, handler: server.Handler, route: str) -> server.Handler:
        clock = self._clock

        async def awaited(began: int, answering: Awaitable[server.Answer]) -> server.Answer:
            answer = await answering
            self._count(route, answer, clock() - began)
            return answer

        def handle(http: server.Request) -> server.Answer | Awaitable[server.Answer]:
            began = clock()
            answer = handler(http)
            if isinstance(answer, bytes | server.Response):
                self._count(route, answer, clock() - began)
                return answer
            return awaited(began, answer)

        return handle

    def _count(self, route: str, answer: server.Answer, duration: int) -> None:
        status = answer.status if isinstance(answer, server.Response) else 200
        cells = self._bound.get((route, status))
        if cells is None:
            cells = self._bind(route, status)
        requests, durations, served = cells
        seconds = duration / 1e9
        requests.add()
        durations.record(seconds)
        served.record(seconds)

    def _bind(self, route: str, status: int) -> tuple[CounterCell, HistogramCell, HistogramCell]:
        made = self._instruments
        cells = self._bound[route, status] = (
            made.http_requests.bind((_METHOD, route)),
            made.http_requests_duration.bind((_METHOD, route)),
            made.http_server_duration.bind((_METHOD, route, str(status))),
        )
        return cells
