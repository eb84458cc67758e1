"""The process's telemetry: one object, made once, changed while it runs.

It owns one TracerProvider and one MeterProvider. Neither is ever replaced and neither is set as OpenTelemetry's global
one: whoever makes spans or metrics is handed what it needs. What a TracingConfiguration changes is behind them: the
exporter behind the queue, the settings the sampler reads, the content of the resource.
"""

import asyncio
import importlib
import time
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from kymograph.telemetry import (
    cells,
    current,
    errors,
    export,
    instruments,
    prometheus,
    propagation,
    recorder,
    rendering,
    resource,
    sampling,
    semconv,
    settings,
)
from kymograph.telemetry.instruments import exported_spans

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

SCOPE = "kymograph"
"""The name of the instrumentation scope of all our spans and metrics."""

MakeExporter = Callable[[settings.TraceSettings], export.Exporter]


def otlp_grpc(traces: settings.TraceSettings) -> export.Exporter:
    """Make the exporter for these settings. Slow the first time, when it loads gRPC: call it off the event loop."""
    made: export.Exporter = importlib.import_module("kymograph.telemetry.otlp").SpanExporter(traces)
    return made


class Telemetry:
    """Everything the process needs to trace and count.

    Args:
        describe: Names the steps of an evaluation and gives their attributes; see `rendering.Describe`.
        facts: Resource attributes that the process found out: `service.version`, `k8s.pod.name`, ... Without a
            `service.instance.id` a random one is made.
        environ: Environment variables, for `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME`.
        make_exporter: Makes an exporter for settings; called in a worker thread.
        ids: Where trace and span ids come from.
        clock: Monotonic nanoseconds, the clock of recorders.
        wall_clock: Nanoseconds since the epoch.

    Attributes:
        tracer: For spans outside of reviews.
        tracer_provider: The shared provider, for libraries that make their own tracers.
        meter_provider: The shared provider, for readers and for instruments of rare paths.
        instruments: The metrics of the hot path.
        cells: Where further instruments of the hot path are declared.
        client_spans: Opens the spans of calls to other processes.
        prometheus: Renders `/metrics`.
        queue: The way out for spans.
    """

    def __init__(
        self,
        describe: rendering.Describe,
        *,
        facts: Mapping[str, str],
        environ: Mapping[str, str],
        make_exporter: MakeExporter = otlp_grpc,
        ids: IdGenerator | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
        wall_clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._facts = {semconv.SERVICE_INSTANCE_ID: str(uuid.uuid4()), **facts}
        self._environ = environ
        self._make_exporter = make_exporter
        self._ids = ids or RandomIdGenerator()
        self._clock = clock
        self._wall_clock = wall_clock
        self._settings = settings.TelemetrySettings()
        self._applying = asyncio.Lock()
        self._resource = resource.LiveResource({})

        version = self._facts.get(semconv.SERVICE_VERSION)
        scope = InstrumentationScope(SCOPE, version)
        renderer = rendering.Renderer(describe, self._resource, scope, self._ids)
        self.queue = export.ExportQueue(renderer.render, wall_clock=wall_clock, clock=time.monotonic)
        self.cells = cells.Cells(scope, wall_clock)
        self.instruments = instruments.declare(self.cells)
        self.prometheus = prometheus.PullReader(self.cells)
        self.meter_provider = MeterProvider([self.prometheus], self._resource, shutdown_on_exit=False)
        exported_spans.observe(self.meter_provider.get_meter(SCOPE, version), self.queue.status)
        self.tracer_provider = TracerProvider(
            sampler=sampling.LiveSampler(lambda: self._settings.traces),
            resource=self._resource,
            shutdown_on_exit=False,
            id_generator=self._ids,
            meter_provider=self.meter_provider,
        )
        self.tracer_provider.add_span_processor(self.queue)
        self.tracer: Tracer = self.tracer_provider.get_tracer(SCOPE, version)
        self.client_spans = current.ClientSpans(self.tracer, clock)
        self._describe_ourselves({})

    @property
    def in_force(self) -> settings.TelemetrySettings:
        """The settings applied last."""
        return self._settings

    def begin(
        self,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
        started_ns: int,
    ) -> recorder.Recorder:
        """Begin a request: read the caller's headers and decide.

        Args:
            traceparent: The header's value, if the request has one.
            tracestate: The header's value, if the request has one.
            started_ns: When the request arrived, on the monotonic clock.

        Returns:
            The request's recorder. Give it to the engine as its watcher only if it is `recording`.
        """
        decision = sampling.decide(
            self._settings.traces,
            propagation.parse(traceparent, tracestate) if traceparent else None,
            self._ids,
        )
        wall_ns = self._wall_clock() - (self._clock() - started_ns) if decision.recorded else 0
        return recorder.Recorder(decision, started_ns, wall_ns, self._ids)

    def keep(self, finished: recorder.Recorder) -> bool:
        """Hand a finished recorder over for export; False if it is not taken: not recorded, or no room."""
        return finished.decision.recorded and self.queue.offer(finished)

    async def apply(self, wanted: settings.TelemetrySettings) -> None:
        """Put settings in force; on return they are.

        Raises:
            ExporterInvalid: An exporter cannot be made from them. What was in force stays in force.
        """
        async with self._applying:
            if _destination(wanted.traces) != _destination(self._settings.traces):
                self.queue.swap(await self._exporter(wanted.traces))
            self._settings = wanted
            self._describe_ourselves(wanted.resource_attributes)

    async def shutdown(self, patience: float) -> None:
        """Deliver what waits within `patience` seconds, count the rest as dropped, and stop."""
        async with self._applying:
            self._settings = settings.TelemetrySettings(metrics=self._settings.metrics)
            await asyncio.to_thread(self.queue.close, patience)
            await asyncio.to_thread(self.meter_provider.shutdown)

    async def _exporter(self, traces: settings.TraceSettings | None) -> export.Exporter | None:
        if traces is None:
            return None
        try:
            return await asyncio.to_thread(self._make_exporter, traces)
        except Exception as error:
            raise errors.ExporterInvalid(f"no exporter for {traces.endpoint}: {error}") from error

    def _describe_ourselves(self, configured: Mapping[str, str]) -> None:
        attributes = resource.attributes_of(self._facts, self._environ, configured)
        self._resource.replace(attributes)
        self.prometheus.show_resource(attributes)


def _destination(traces: settings.TraceSettings | None) -> tuple[str, bool] | None:
    """Say what an exporter is made from: settings that agree on it share one."""
    return None if traces is None else (traces.endpoint, traces.plaintext)
