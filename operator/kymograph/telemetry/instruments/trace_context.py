"""`admission_trace_context_total`: whether API servers say which trace a request belongs to.

It is counted whether or not anything is traced: `kymograph doctor` reads from it what an API server really sends.
"""

from collections.abc import Iterable

from kymograph.telemetry import cells, families

ABOUT = cells.Description(
    name="admission_trace_context_total",
    description="Admission requests by the trace context that they bring: sampled, unsampled or none.",
    unit="{request}",
    labels=("context",),
)


class Contexts:
    """Counts requests by the trace context they bring. Used by one thread; read by any."""

    __slots__ = ("_none", "_sampled", "_unsampled")

    def __init__(self) -> None:
        self._sampled = self._unsampled = self._none = 0

    def count(self, *, sampled: bool | None) -> None:
        """Count a request whose caller has sampled it, or not; None where it brings no context."""
        if sampled is None:
            self._none += 1
        elif sampled:
            self._sampled += 1
        else:
            self._unsampled += 1

    def read(self) -> Iterable[tuple[families.Values, float]]:
        """The counts, by the label's value."""
        return ((("sampled",), self._sampled), (("unsampled",), self._unsampled), (("none",), self._none))
