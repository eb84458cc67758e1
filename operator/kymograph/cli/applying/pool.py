"""Parts handled in several processes, with their results in the order of the parts.

The processes are forked, so that they share the compiled policies; where the platform cannot fork, one process does
the work. At most `2 * jobs` parts are under way, so that a slow reader of the results slows the reading of the file.
"""

import collections
import itertools
import multiprocessing
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeAlias

from kymograph.cli.applying import stream, work
from kymograph.cli.offline import errors

if TYPE_CHECKING:
    from concurrent import futures

_Answer: TypeAlias = work.Done | tuple[errors.InputProblem, ...]
_worker: list[work.Worker] = []
"""The worker of a forked process, made before the fork."""


def handle(task: work.Task, parts: Iterable[stream.Part], jobs: int) -> Iterator[tuple[int, work.Done]]:
    """Handle the parts of files; gives how many characters a part had and what came of it.

    Args:
        task: What is to be done.
        parts: The parts, read only as fast as they are handled.
        jobs: How many processes may work.

    Raises:
        InputInvalid: A part cannot be read.
        YAMLInvalid: A file cannot be cut.
    """
    worker = work.Worker(task)
    remaining = iter(parts)
    first = list(itertools.islice(remaining, 2))
    every = itertools.chain(first, remaining)
    if len(first) < 2 or jobs < 2 or "fork" not in multiprocessing.get_all_start_methods():
        for part in every:
            yield len(part.text), worker.handle(part)
        return
    yield from _forked(worker, every, jobs)


def _forked(worker: work.Worker, parts: Iterator[stream.Part], jobs: int) -> Iterator[tuple[int, work.Done]]:
    from concurrent import futures  # noqa: PLC0415 - slow to import, and needed for large files only

    _worker[:] = [worker]
    under_way: collections.deque[tuple[int, futures.Future[_Answer]]] = collections.deque()
    executor = futures.ProcessPoolExecutor(jobs, multiprocessing.get_context("fork"))
    try:
        for part in parts:
            under_way.append((len(part.text), executor.submit(_handle, part)))
            if len(under_way) >= 2 * jobs:
                yield _result(*under_way.popleft())
        while under_way:
            yield _result(*under_way.popleft())
    finally:
        executor.shutdown(cancel_futures=True)
        _worker.clear()


def _handle(part: stream.Part) -> "_Answer":
    try:
        return _worker[0].handle(part)
    except errors.InputInvalid as invalid:
        return invalid.problems


def _result(size: int, future: "futures.Future[_Answer]") -> tuple[int, work.Done]:
    answer = future.result()
    if isinstance(answer, work.Done):
        return size, answer
    raise errors.InputInvalid(answer)
