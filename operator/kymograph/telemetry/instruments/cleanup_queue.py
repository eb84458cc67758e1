"""`cleanup_queue_depth` and `cleanup_queue_oldest_seconds`: clean-ups whose time has come and that wait for their turn.

Kyverno tells nothing of them.
"""

from collections.abc import Callable, Iterable, Mapping

from opentelemetry.metrics import CallbackOptions, Meter, Observation


def observe(meter: Meter, waiting: Callable[[], Mapping[str, tuple[int, float]]]) -> None:
    """Create the gauges, read at each collection.

    Args:
        meter: Whose instruments.
        waiting: By queue how many wait, and the seconds since the first of them was due.
    """

    def depths(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(depth, {"queue": queue}) for queue, (depth, _) in waiting().items()]

    def ages(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(age, {"queue": queue}) for queue, (_, age) in waiting().items()]

    meter.create_observable_gauge(
        "cleanup_queue_depth",
        [depths],
        unit="{item}",
        description="Objects and cleanup policies that are due and wait, at the replica that leads.",
    )
    meter.create_observable_gauge(
        "cleanup_queue_oldest_seconds",
        [ages],
        unit="s",
        description="For how long the first of them has been due.",
    )
