"""Parts handled in several processes, with their results in the order of the parts.

The processes are forked, so that they share the compiled policies; where the platform cannot fork, one process does
the work. Only a few parts are under way, so that a slow reader of the results slows the reading of the file.
"""

import itertools
from collections.abc import Iterable, Iterator

from kymograph.cli.applying import stream, work
from kymograph.cli.offline import forked


def handle(task: work.Task, parts: Iterable[stream.Part], jobs: int) -> Iterator[tuple[int, work.Done]]:
    """Handle the parts of files. Processes start before this returns, so that no thread of the caller's is forked.

    Args:
        task: What is to be done.
        parts: The parts, read only as fast as they are handled.
        jobs: How many processes may work.

    Returns:
        How many characters each part had and what came of it.

    Raises:
        InputInvalid: A part cannot be read.
        YAMLInvalid: A file cannot be cut.
        WorkerLost: A process ended in the middle of its work.
    """
    worker = work.Worker(task)
    remaining = iter(parts)
    first = list(itertools.islice(remaining, 2))
    every = itertools.chain(first, remaining)
    if len(first) < 2 or jobs < 2 or not forked.is_possible():
        return ((len(part.text), worker.handle(part)) for part in every)
    workers: forked.Workers[stream.Part, tuple[int, work.Done]] = forked.Workers(
        lambda part: (len(part.text), worker.handle(part)), jobs
    )
    return workers.map(every)
