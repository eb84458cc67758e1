"""The answering half of a connection: one request at a time, in order, by its deadline.

Requests of a connection are served one after the other, as HTTP/1.1 wants their answers; what a client pipelines waits
its turn, unread as far as possible. The common case takes the short way: request complete, handler called, answer
written, all inside the one callback that brought the bytes: no task, no timer, no copy but the parser's.
"""

import asyncio
import functools
import logging
from collections.abc import Callable
from typing import Final

from kymograph.apimachinery import duration
from kymograph.controllers.admission.server import messages, refusals, shared

_LOG = logging.getLogger(__name__)
_FAILED: Final = "webhook handler failed"

NEVER: Final = 2**63 - 1

# What is being read. Plain integers: an enum's attribute costs more than the comparison it is for.
BETWEEN: Final = 0
HEAD: Final = 1
BODY: Final = 2
ENDED: Final = 3


class Turns(asyncio.BufferedProtocol):
    """Whose turn it is, and what is written when. What is read is for the subclass, which keeps `_phase`."""

    __slots__ = (
        "_closed",
        "_expires",
        "_keep_answer",
        "_limits",
        "_now",
        "_owes_continue",
        "_paused",
        "_phase",
        "_shared",
        "_task",
        "_timer",
        "_transport",
        "_waiting",
        "_writable",
    )

    _transport: asyncio.Transport
    _timer: asyncio.TimerHandle

    def __init__(self, common: shared.Shared) -> None:
        self._shared = common
        self._limits = common.limits
        self._now = common.clock()
        self._phase = BETWEEN
        self._expires = NEVER
        self._closed = self._paused = self._owes_continue = False
        self._writable = self._keep_answer = True
        self._waiting: list[Callable[[], None]] = []
        self._task: asyncio.Future[messages.Answer] | None = None

    def pause_writing(self) -> None:
        """The client does not read: take nothing more from it."""
        self._writable = False
        self._pause_reading()

    def resume_writing(self) -> None:
        """The client has read."""
        self._writable = True
        if not self._closed:
            self._now = self._shared.clock()
            if self._phase == BETWEEN and self._task is None:
                self._expire_in(self._limits.idle_timeout)
            self._proceed()

    def _is_busy(self) -> bool:
        return self._task is not None or not self._writable or bool(self._waiting)

    def _wait(self, turn: Callable[[], None]) -> None:
        self._waiting.append(turn)
        self._pause_reading()

    def _refuse_in_turn(self, refusal: refusals.Refusal, *, keep: bool) -> None:
        if self._is_busy():
            self._wait(functools.partial(self._refuse, refusal, keep=keep))
        else:
            self._refuse(refusal, keep=keep)

    def _serve(self, request: messages.Request, handler: messages.Handler, *, keep: bool) -> None:
        if request.deadline <= self._now:  # it waited too long
            self._refuse(refusals.DEADLINE, keep=keep)
            return
        try:
            answer = handler(request)
            if isinstance(answer, (bytes, messages.Response)):
                self._answer(answer, keep=keep)
            else:
                self._start(asyncio.ensure_future(answer, loop=self._shared.loop), request.deadline, keep=keep)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is logged and never an allowed
            self._fail(error, keep=keep)

    def _start(self, task: asyncio.Future[messages.Answer], deadline: int, *, keep: bool) -> None:
        self._task = task
        self._keep_answer = keep
        if self._phase == BETWEEN:
            self._expires = NEVER
        self._timer = self._shared.loop.call_later((deadline - self._shared.clock()) / duration.SECOND, self._late)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Future[messages.Answer]) -> None:
        """A handler's task has ended: in time, too late, or for nobody."""
        in_time = task is self._task
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if not in_time:
            self._shared.stragglers.discard(task)
            if error is not None and not task.cancelled():
                _LOG.error(_FAILED, exc_info=error)
            return
        self._timer.cancel()
        self._task = None
        self._now = self._shared.clock()
        if error is None:
            try:
                self._answer(task.result(), keep=self._keep_answer)
            except Exception as unusable:  # noqa: BLE001 - what the handler gave is no answer
                self._fail(unusable, keep=self._keep_answer)
        else:
            self._fail(error, keep=self._keep_answer)
        self._proceed()

    def _late(self) -> None:
        self._give_up()
        self._now = self._shared.clock()
        self._refuse(refusals.DEADLINE, keep=self._keep_answer)
        self._proceed()

    def _give_up(self) -> None:
        """Nobody waits for the task any more. It may need a while to end; someone has to hold it until then."""
        task, self._task = self._task, None
        if task is not None:
            self._shared.stragglers.add(task)
            task.cancel()

    def _proceed(self) -> None:
        """Takes what waited, then reads on."""
        while self._waiting and self._task is None and self._writable and not self._closed:
            self._waiting.pop(0)()
        if self._closed or self._waiting or not self._writable:
            return
        if self._owes_continue and self._task is None:
            self._owes_continue = False
            self._transport.write(messages.CONTINUE)
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    def _answer(self, answer: messages.Answer, *, keep: bool) -> None:
        close = self._is_last(keep=keep)
        if isinstance(answer, bytes):
            self._write(messages.encode_document(answer, close=close), close=close)
        else:
            self._write(messages.encode(answer, close=close), close=close)

    def _fail(self, error: BaseException, *, keep: bool) -> None:
        _LOG.error(_FAILED, exc_info=error)
        self._refuse(refusals.FAILED, keep=keep)

    def _refuse(self, refusal: refusals.Refusal, *, keep: bool) -> None:
        close = self._is_last(keep=keep)
        self._shared.on_refused(refusal.reason)
        self._write(refusal.close if close else refusal.keep, close=close)

    def _is_last(self, *, keep: bool) -> bool:
        return not keep or (self._shared.draining and not self._waiting and self._phase == BETWEEN)

    def _write(self, response: bytes, *, close: bool) -> None:
        self._transport.write(response)
        if not close:
            if self._phase == BETWEEN:
                self._expire_in(self._limits.idle_timeout if self._writable else self._limits.body_timeout)
            return
        self._closed = True
        self._waiting.clear()
        if self._phase == ENDED:  # input is left unread
            self._expire_in(self._limits.linger)
            if self._paused:
                self._transport.resume_reading()
        else:
            self._phase = ENDED
            self._transport.close()

    def _pause_reading(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _expire_in(self, seconds: float) -> None:
        self._expires = self._now + int(seconds * duration.SECOND)

    def _abort(self) -> None:
        self._phase = ENDED
        self._closed = True
        self._transport.abort()
