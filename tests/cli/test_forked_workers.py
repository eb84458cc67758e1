"""Forked processes leave alone what belongs to the process that they come from."""

import gc

from kymograph.cli.offline import forked


class Connection:
    """Something that says goodbye when it is collected; refers to itself, so that only the collector finds it."""

    def __init__(self, goodbyes):
        self._self = self
        self._goodbyes = goodbyes

    def __del__(self):
        self._goodbyes.append("goodbye")


def test_what_was_garbage_before_is_not_collected_in_a_worker() -> None:
    """A collector there would close connections that this process has not let go of."""
    goodbyes = []

    def collected(_task):
        gc.collect()
        return list(goodbyes)

    gc.disable()
    try:
        Connection(goodbyes)
        workers = forked.Workers(collected, 2)
        assert list(workers.map(range(4))) == [[]] * 4
    finally:
        gc.enable()
    gc.collect()
    assert goodbyes == ["goodbye"]
