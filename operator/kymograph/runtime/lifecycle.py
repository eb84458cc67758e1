"""How the process stops, and what happens when a part of it fails."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any

logger = logging.getLogger(__name__)

_HANDLER_CLOSED = "the handler is closed"
"""What uvloop says when something is written to a connection that has ended."""


class Stop:
    """The way out: asked for by a signal or by a part that failed, done when everything is drained.

    Attributes:
        done: Set when nothing is left to be served; Kopf ends then.
        failure: What made the first part fail that did; None where none did.
    """

    def __init__(self) -> None:
        self.done = asyncio.Event()
        self._asked = asyncio.Event()
        self.failure: BaseException | None = None
        asyncio.get_running_loop().set_exception_handler(_working)
        self.listen()

    def listen(self) -> None:
        """Take SIGTERM and SIGINT as the wish to stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.ask)

    def ask(self) -> None:
        """Begin to stop."""
        asyncio.get_running_loop().set_exception_handler(_closing)
        self._asked.set()

    async def asked(self) -> None:
        """Wait until somebody wants the process to stop.

        Raises:
            BaseException: What made a part of the process fail.
        """
        await self._asked.wait()
        if self.failure is not None:
            raise self.failure

    def ended(self, task: "asyncio.Task[None]") -> None:
        """A part of the process ended, which none should before the stop is done: stop, and say why."""
        if task.cancelled() or self.done.is_set():
            return
        self.failure = self.failure or task.exception() or RuntimeError(f"{task.get_name()} ended")
        self.ask()


def _working(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A connection that was ended while TLS had something to send complains to the loop, though its user knows."""
    if "transport" in context and _HANDLER_CLOSED in str(context.get("exception")):
        logger.debug("After a connection's end: %s", context.get("message"), exc_info=context.get("exception"))
    else:
        loop.default_exception_handler(context)


def _closing(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What is closed in the middle of its work complains to the loop: no news at a stop."""
    if "transport" in context or "asyncgen" in context:
        logger.debug("While closing: %s", context.get("message"), exc_info=context.get("exception"))
    else:
        loop.default_exception_handler(context)


@contextlib.asynccontextmanager
async def supervised(parts: Sequence[Coroutine[Any, Any, None]], stop: Stop) -> AsyncIterator[None]:
    """Run the parts while the body runs; one that ends, which none should, stops the process."""
    tasks = [asyncio.create_task(part, name=getattr(part, "__qualname__", None)) for part in parts]
    for task in tasks:
        task.add_done_callback(stop.ended)
    try:
        yield
    finally:
        for task in tasks:
            task.remove_done_callback(stop.ended)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
