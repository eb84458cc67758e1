"""Work handed out to forked processes, with the answers in the order of the tasks.

A forked process shares everything that was made ready before: the imported modules, the compiled policies. It costs
some milliseconds, which the general pools of the standard library several times exceed. Nothing here works without
`fork`, and nothing may be forked once this process has threads: make the workers first.
"""

import contextlib
import gc
import os
import pickle
import select
import signal
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from kymograph.cli.offline import errors

_Task = TypeVar("_Task")
_Answer = TypeVar("_Answer")

_UNDER_WAY = 2
"""Tasks for each worker that are with it or answered out of turn: a slow reader of answers slows the tasks down."""


def is_possible() -> bool:
    """Whether this platform can fork."""
    return hasattr(os, "fork")


class Workers(Generic[_Task, _Answer]):
    """Forked processes that wait for tasks; they leave Ctrl-C to this one and end when they are closed.

    Args:
        handle: Answers a task. Tasks, answers and what it raises must be picklable; itself need not be.
        jobs: How many processes.
    """

    def __init__(self, handle: Callable[[_Task], _Answer], jobs: int) -> None:
        self._workers: list[_Worker] = []
        for _ in range(jobs):
            self._workers.append(_Worker(handle, self._workers))

    def map(self, tasks: Iterable[_Task]) -> Iterator[_Answer]:
        """The answers to tasks, in their order; to be called once. The workers are closed at the end.

        Args:
            tasks: Read only as fast as they are worked on, always one ahead.

        Raises:
            WorkerLost: A process ended in the middle of its work.
            Exception: What `handle` raised on a task, when it is that task's turn.
        """
        try:
            yield from self._mapped(tasks)
        finally:
            self.close()

    def close(self) -> None:
        """End the processes, whatever they are doing."""
        for each in self._workers:
            each.end()
        self._workers.clear()

    def _mapped(self, tasks: Iterable[_Task]) -> Iterator[_Answer]:
        remaining = enumerate(tasks)
        idle = list(self._workers)
        busy: dict[_Worker, int] = {}
        answered: dict[int, tuple[bool, Any]] = {}
        turn = 0
        ahead = next(remaining, None)
        while ahead is not None or busy or answered:
            if ahead is not None and idle and len(busy) + len(answered) < _UNDER_WAY * len(self._workers):
                worker = idle.pop()
                busy[worker], task = ahead
                worker.send(task)
                ahead = next(remaining, None)
            elif turn in answered:
                well, answer = answered.pop(turn)
                if not well:
                    raise answer
                yield answer
                turn += 1
            else:
                for worker in select.select(list(busy), (), ())[0]:
                    answered[busy.pop(worker)] = worker.receive()
                    idle.append(worker)


class _Worker:
    """One process, seen from the one that forked it.

    Args:
        handle: Answers a task.
        before: The workers that are there already: their pipes are not for the new one.
    """

    def __init__(self, handle: Callable[[Any], Any], before: Iterable["_Worker"]) -> None:
        tasks, own_tasks = os.pipe()
        own_answers, answers = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                gc.freeze()  # what is garbage already is the other process's, whose connections it may hold
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                for each in before:
                    each.close()
                os.close(own_tasks)
                os.close(own_answers)
                _serve(handle, tasks, answers)
            finally:
                os._exit(0)  # neither the buffers nor the exit handlers are this process's own
        os.close(tasks)
        os.close(answers)
        self._tasks = os.fdopen(own_tasks, "wb")
        self._answers = os.fdopen(own_answers, "rb")

    def fileno(self) -> int:
        """What to wait for until there is an answer."""
        return self._answers.fileno()

    def send(self, task: Any) -> None:
        """Hand over a task; only when the last one is answered."""
        try:
            pickle.dump(task, self._tasks, pickle.HIGHEST_PROTOCOL)
            self._tasks.flush()
        except BrokenPipeError:
            raise errors.WorkerLost from None

    def receive(self) -> tuple[bool, Any]:
        """Whether the task went well, and the answer or what was raised."""
        try:
            answer: tuple[bool, Any] = pickle.load(self._answers)  # noqa: S301 - from a process of our own
        except (EOFError, pickle.UnpicklingError):
            raise errors.WorkerLost from None
        return answer

    def end(self) -> None:
        """Stop the process and wait for it."""
        os.kill(self._pid, signal.SIGTERM)
        os.waitpid(self._pid, 0)
        self.close()

    def close(self) -> None:
        """Close its pipes."""
        for file in (self._tasks, self._answers):
            with contextlib.suppress(OSError):  # what the process did not read any more
                file.close()


def _serve(handle: Callable[[Any], Any], tasks: int, answers: int) -> None:
    """What a forked process does: answer tasks until there are no more."""
    with os.fdopen(tasks, "rb") as incoming, os.fdopen(answers, "wb") as outgoing:
        while incoming.peek(1):
            task = pickle.load(incoming)  # noqa: S301 - from the process that forked this one
            try:
                answer = True, handle(task)
            except Exception as error:  # noqa: BLE001 - raised where the answer is read
                answer = False, error
            pickle.dump(answer, outgoing, pickle.HIGHEST_PROTOCOL)
            outgoing.flush()
