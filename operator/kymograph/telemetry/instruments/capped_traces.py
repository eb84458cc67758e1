"""`telemetry_traces_capped_total`: callers' decisions to sample that were not followed, because there were too many.

An instrument of the SDK, read from the cap's own count, off the hot path.
"""

from collections.abc import Callable, Iterable

from opentelemetry.metrics import CallbackOptions, Meter, Observation


def observe(meter: Meter, refused: Callable[[], int]) -> None:
    """Create the instrument, read from `refused` at each collection."""

    def capped(_: CallbackOptions) -> Iterable[Observation]:
        yield Observation(refused())

    meter.create_observable_counter(
        "telemetry_traces_capped",
        [capped],
        unit="{trace}",
        description="Requests whose caller asked for a trace and that were not traced, because too many did.",
    )
