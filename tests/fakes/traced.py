"""The process's telemetry with every trace kept in memory."""

import contextlib
from collections.abc import AsyncIterator, Sequence

from opentelemetry.sdk.trace import ReadableSpan

from kymograph.controllers.admission import spans
from kymograph.telemetry import providers, settings


class Kept:
    """An exporter that keeps what it is given; `telemetry` is what exports to it."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []
        self.telemetry = providers.Telemetry(spans.describe, facts={}, environ={}, make_exporter=lambda *_: self)

    def export(self, batch: Sequence[ReadableSpan]) -> None:
        """See `telemetry.export.Exporter`."""
        self.spans.extend(batch)

    def shutdown(self) -> None:
        """See `telemetry.export.Exporter`."""

    def finished(self) -> list[ReadableSpan]:
        """The spans that have ended so far."""
        assert self.telemetry.queue.flush(60)
        return self.spans

    def scrape(self) -> dict[str, float]:
        """The samples that Prometheus would see now, by their text without the value."""
        lines = b"".join(self.telemetry.prometheus.scrape("text/plain").pieces).decode().splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}


@contextlib.asynccontextmanager
async def kept() -> AsyncIterator[Kept]:
    """Telemetry that traces everything, until the block is left."""
    made = Kept()
    everything = settings.TraceSettings("collector:4317", sampling_rate_per_million=1_000_000)
    await made.telemetry.apply(settings.TelemetrySettings(traces=everything))
    try:
        yield made
    finally:
        await made.telemetry.shutdown(5)
