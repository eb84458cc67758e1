"""`scan_lag_seconds`: how far scans are behind the objects that change."""

from collections.abc import Callable, Iterable

from opentelemetry.metrics import CallbackOptions, Meter, Observation


def observe(meter: Meter, lag: Callable[[], float | None]) -> None:
    """Create the instrument, read from `lag` at each collection.

    Args:
        meter: Whose instrument.
        lag: Seconds since the change of an object that is waiting longest to be scanned, 0 where none waits; None where
            this replica does not scan.
    """

    def seconds(_: CallbackOptions) -> Iterable[Observation]:
        now = lag()
        if now is not None:
            yield Observation(now)

    meter.create_observable_gauge(
        "scan_lag_seconds",
        [seconds],
        unit="s",
        description="How long the change of an object has been waiting to be scanned, for the one waiting longest.",
    )
