"""The process's telemetry: one object, made once, changed while it runs.

It owns one TracerProvider and one MeterProvider. Neither is ever replaced and neither is set as OpenTelemetry's global
one: whoever makes spans or metrics is handed what it needs. What a TracingConfiguration changes is behind them: the
exporter behind the queue, the settings the sampler reads, the content of the resource.
"""

import asyncio
import dataclasses
import functools
import importlib
import itertools
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace import Tracer as SDKTracer
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from kymograph.telemetry import (
    capping,
    cells,
    clientmetrics,
    current,
    destination,
    encoding,
    errors,
    export,
    fieldpaths,
    instruments,
    keeping,
    logexport,
    logsettings,
    memory,
    metricencoding,
    partial,
    prometheus,
    propagators,
    push,
    recordencoding,
    recorder,
    rendering,
    resource,
    sampling,
    semconv,
    settings,
    sharing,
    spanqueue,
    steady,
    undecided,
    ways,
    work,
)
from kymograph.telemetry.instruments import exported_log_records, exported_spans, trace_context
from kymograph.telemetry.metricsettings import Temporality

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

SCOPE = "kymograph"
"""The name of the instrumentation scope of all our spans and metrics."""

_LIMITS = SpanLimits(
    max_attributes=128,
    max_events=128,
    max_links=128,
    max_span_attributes=128,
    max_event_attributes=128,
    max_link_attributes=128,
    max_attribute_length=SpanLimits.UNSET,
    max_span_attribute_length=SpanLimits.UNSET,
)
"""The SDK's own. What is not said here a variable says, or ends the process if it cannot: of spans of the SDK only."""


def otlp(origin: encoding.Origin, to: destination.Destination) -> export.Exporter[encoding.Span]:
    """Make the exporter to a destination. Slow the first time, when it loads gRPC: call it off the event loop."""
    made: export.Exporter[encoding.Span] = importlib.import_module("kymograph.telemetry.otlp").SpanExporter(to, origin)
    return made


def otlp_logs(origin: encoding.Origin, to: destination.Destination) -> export.Exporter[logexport.Written]:
    """Make the exporter of log records to a destination; as slow as `otlp`."""
    made: export.Exporter[logexport.Written] = importlib.import_module("kymograph.telemetry.otlp").LogExporter(
        to, origin
    )
    return made


MakeMetricExporter = Callable[[destination.Destination], push.Exporter]


def otlp_metrics(to: destination.Destination) -> push.Exporter:
    """Make the exporter of metrics to a destination; as slow as `otlp`."""
    made: push.Exporter = importlib.import_module("kymograph.telemetry.otlp").MetricExporter(to)
    return made


class Telemetry:
    """Everything the process needs to trace and count.

    Args:
        describe: Names the steps of an evaluation and gives their attributes; see `rendering.Describe`.
        facts: Resource attributes that the process found out: `service.version`, `k8s.pod.name`, ... Without a
            `service.instance.id` a random one is made.
        environ: Environment variables, for `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME`.
        make_exporter: Makes an exporter of `ReadableSpan`s to a destination; called in a worker thread. None for those
            over OTLP, for which reviews are written straight from their logs.
        make_metric_exporter: The same for metrics.
        make_log_exporter: The same for log records; None for those over OTLP.
        callers_known: Whoever sends a review has shown who it is.
        ids: Where trace and span ids come from.
        clock: Monotonic nanoseconds, the clock of recorders.
        wall_clock: Nanoseconds since the epoch.

    Attributes:
        describe: Names the steps of an evaluation.
        tracer: For spans outside of reviews that no controller makes; the controllers' are from `tracer_for`.
        tracer_provider: The shared provider, for libraries that make their own tracers.
        meter_provider: The shared provider, for readers and for instruments of rare paths.
        instruments: The metrics of the hot path.
        cells: Where further instruments of the hot path are declared.
        client_spans: Opens the spans of calls to other processes.
        prometheus: Renders `/metrics`.
        push: Pushes metrics.
        queue: The way out for spans, to their first destination.
        log_queue: The way out for log records.
        redacted_paths: The fields of objects that nobody is told of.
    """

    def __init__(
        self,
        describe: rendering.Describe,
        *,
        facts: Mapping[str, str],
        environ: Mapping[str, str],
        make_exporter: ways.MakeSpanExporter | None = None,
        make_metric_exporter: MakeMetricExporter = otlp_metrics,
        make_log_exporter: ways.MakeLogExporter | None = None,
        callers_known: bool = False,
        ids: IdGenerator | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
        wall_clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.describe = describe
        self._facts = {semconv.SERVICE_INSTANCE_ID: str(uuid.uuid4()), **facts}
        self._environ = environ
        self._make_metric_exporter = make_metric_exporter
        self._callers_known = callers_known
        self._ids = ids or RandomIdGenerator()
        self._clock = clock
        self._wall_clock = wall_clock
        self._settings = settings.TelemetrySettings()
        self._forms = propagators.W3C
        self._reviews: settings.TraceSettings | None = None  # as the admission controller has them
        self._cap = capping.Cap(capping.DEFAULT_PER_SECOND)
        self._contexts = trace_context.Contexts()
        self._pushed: tuple[destination.Destination, float, Temporality] | None = None
        self._applying = asyncio.Lock()
        self._resource = resource.LiveResource({})

        version = self._facts.get(semconv.SERVICE_VERSION)
        scope = InstrumentationScope(SCOPE, version)
        origin = encoding.Origin(self._resource, scope)
        render: spanqueue.Render
        if make_exporter is None:
            make_exporter = functools.partial(otlp, origin)
            render = recordencoding.RecordEncoder(describe, origin, self._ids).encode
            encode: sharing.Encode = encoding.Encoder(origin).write
        else:
            render = rendering.Renderer(describe, self._resource, scope, self._ids).render
            encode = _as_it_is
        self.log_queue: export.Queue[logexport.Written] = export.Queue(
            wall_clock=wall_clock,
            clock=time.monotonic,
            capacity=logexport.CAPACITY,
            room=memory.Share(memory.LOG_RECORDS),
        )
        self.undecided_room = memory.Share(memory.UNDECIDED)
        self._log_handler = logexport.Handler(self.log_queue)
        self.redacted_paths: tuple[fieldpaths.Path, ...] = ()
        self._ways = ways.Ways(
            lambda: spanqueue.ExportQueue(render, wall_clock=wall_clock, clock=time.monotonic),
            make_exporter,
            self.log_queue,
            make_log_exporter or functools.partial(otlp_logs, origin),
            render,
            encode,
        )
        self.queue = self._ways.queue
        self.cells = cells.Cells(scope, wall_clock)
        self.instruments = instruments.declare(self.cells)
        self.prometheus = prometheus.PullReader(self.cells)
        self._reader = push.OnDemandReader()
        self.push = push.Push(self._collect, wall_clock=wall_clock)
        self.meter_provider = MeterProvider(
            [self.prometheus, self._reader],
            self._resource,
            exemplar_filter=AlwaysOffExemplarFilter(),  # of the variable `environment` knows; only cells have exemplars
            shutdown_on_exit=False,
        )
        meter = self.meter_provider.get_meter(SCOPE, version)
        exported_spans.observe(meter, self.queue.status, lambda: self._ways.additional)
        exported_log_records.observe(meter, self.log_queue.status)
        self.instruments.traces_capped.observe(lambda: [((), self._cap.refused)])
        self.instruments.trace_contexts.observe(self._contexts.read)
        self._observe_metrics(version)
        self.tracer_provider = TracerProvider(
            sampler=sampling.LiveSampler(lambda: self._settings.traces),
            resource=self._resource,
            span_limits=_LIMITS,
            shutdown_on_exit=False,
            id_generator=self._ids,
            meter_provider=self.meter_provider,
        )
        fan = self._ways.fan
        judged = undecided.Undecided(lambda: self._settings.traces, fan.on_end, fan.keep, self.undecided_room)
        steadied = steady.SteadySpans(time.monotonic_ns, time.time_ns, judged.ended)
        self.tracer_provider.add_span_processor(steadied)
        self.tracer: Tracer = self.tracer_provider.get_tracer(SCOPE, version)
        self._tracers = {each: self._tracer_of(each, version) for each in settings.Controller}
        called = clientmetrics.ClientMetrics(self.instruments).called
        self.client_spans = current.ClientSpans(self.tracer, clock, called, lambda: self._forms)
        self._describe_ourselves({})

    @property
    def in_force(self) -> settings.TelemetrySettings:
        """The settings applied last."""
        return self._settings

    @property
    def additional(self) -> Mapping[str, export.ExportStatus]:
        """What became of the spans for each additional destination, by its name."""
        return self._ways.additional

    @property
    def tells_users(self) -> bool:
        """Whether spans of reviews say who made the request."""
        return self._reviews is not None and self._reviews.user

    def tracer_for(self, controller: settings.Controller | str) -> "Tracer":
        """The tracer of a controller: whether and how often its roots are sampled can be configured apart.

        Args:
            controller: `admission`, `background`, `cleanup` or `reports`.

        Raises:
            ValueError: There is no such controller.
        """
        return self._tracers[settings.Controller(controller)]

    def work(self, name: str) -> work.Work:
        """What a controller, by Kyverno's name for it where it has one, counts of its work."""
        return work.Work(self.instruments, name)

    def begin(
        self,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
        started_ns: int,
        namespace: str = "",
        fields: propagators.Fields | None = None,
    ) -> recorder.Recorder:
        """Begin a request: read the caller's headers and decide.

        Args:
            traceparent: The header's value, if the request has one.
            tracestate: The header's value, if the request has one.
            started_ns: When the request arrived, on the monotonic clock.
            namespace: The namespace of the request's object, or an empty string.
            fields: Other header fields of the request that may tell of its caller; see `propagators.FIELDS`.

        Returns:
            The request's recorder. Give it to the engine as its watcher only if it is `recording`.
        """
        caller, baggage = self._forms.read(traceparent, tracestate, fields)
        if baggage and self._reviews is not None and self._reviews.parent is not settings.ParentPolicy.RESPECT:
            baggage = ""
        self._contexts.count(sampled=None if caller is None else caller.sampled)
        decision = sampling.decide(self._reviews, caller, self._ids, self._cap, started_ns, namespace)
        wall_ns = self._on_the_wall(started_ns) if decision.recorded else 0
        return recorder.Recorder(decision, started_ns, wall_ns, self._ids, self._forms, baggage, self.undecided_room)

    def judge(
        self,
        record: recorder.Recorder,
        now: int,
        *,
        denied: bool,
        failed: Callable[[], bool] = lambda: False,
        namespace: str = "",
        policies: Callable[[], Iterable[str]] = tuple,
    ) -> bool:
        """Decide at a request's end whether its spans are wanted; only then is there any use in finishing it.

        Args:
            record: The request's recorder; a keep rule that applies is noted in it. Where nobody knows who calls, it
                takes part in the cap on traces that callers can force.
            now: The moment, on the recorder's clock.
            denied: The request was denied.
            failed: Tells whether a policy could not be evaluated; asked only if a rule wants to know.
            namespace: The namespace of the request's object, or an empty string.
            policies: Names the policies that were applied (`name` and `namespace/name`); asked only if a rule wants to
                know.
        """
        traces = self._reviews
        if record.decision.tentative and traces is not None:
            rule = traces.keep.rule(
                denied=denied,
                failed=failed,
                elapsed_ns=now - record.started_ns,
                namespace=namespace,
                policies=policies,
            )
            if sampling.is_sampled_after_all(traces, record.decision, namespace, policies):
                rule = rule or keeping.SAMPLING_RULE
            elif rule and not self._affords(record.decision, now):
                rule = ""
            if rule:
                record.keep(rule, self._on_the_wall(record.started_ns))
        return record.decision.recorded

    def decision_link(self, decision: sampling.Decision) -> str:
        """The URL of a request's trace; empty where none is to be told, or our spans of it are not kept."""
        traces = self._reviews
        if traces is None or traces.decision_link is None or not decision.recorded:
            return ""
        return traces.decision_link.of(decision.trace_id, decision.span_id)

    def keep(self, finished: recorder.Recorder) -> bool:
        """Hand a finished recorder over for export; False if it is not taken: not sampled nor kept, or no room."""
        return finished.decision.recorded and self._ways.fan.offer(finished)

    async def apply(
        self,
        wanted: settings.TelemetrySettings,
        secrets: destination.Secrets = destination.NO_SECRETS,
        parts: partial.Whole = partial.WHOLE,
    ) -> None:
        """Put settings in force; on return they are.

        Args:
            wanted: The settings.
            secrets: The data of the Secrets that `wanted.secrets` names. Applied again with other data, they take
                effect like any other change.
            parts: What becomes of a part that cannot be used. Where none of their destinations can, no spans are made.

        Raises:
            SettingsInvalid: A Secret lacks what it is named for, or it cannot be used; or a metric or label is named
                that there is not. What was in force stays so.
            ExporterInvalid: An exporter cannot be made from them. What was in force stays in force.
        """
        async with self._applying:
            shown = self.cells.check(wanted.metrics, parts)
            pushed = wanted.metrics.otlp
            push_to = metrics = None
            if pushed is not None:
                with parts.part("metrics.otlp"):
                    place = await asyncio.to_thread(destination.resolve, pushed, secrets, "metrics.otlp")
                    push_to = (place, pushed.interval, pushed.temporality)
            plan = await self._ways.plan(wanted, secrets, parts)
            if push_to is not None and push_to != self._pushed:
                other, push_to = push_to, None
                try:
                    with parts.part("metrics.otlp"):
                        metrics = await ways.made(self._make_metric_exporter, other[0])
                        push_to = other
                except errors.ExporterInvalid:
                    await plan.abandon()
                    raise
            traces = wanted.traces if plan.traced else None
            wanted = dataclasses.replace(wanted, traces=traces)
            self.cells.show(shown, exemplars=wanted.metrics.exemplars)  # nothing can fail from here on
            self._ways.carry_out(plan, wanted)
            self._log_handler.follow(wanted.logs)
            self.redacted_paths = wanted.logs.redacted.paths
            if wanted.propagated != self._forms.forms:
                self._forms = propagators.Propagators(wanted.propagated)
            if push_to != self._pushed:
                self.push.swap(metrics, *(push_to[1:] if push_to is not None else ()))
                self._pushed = push_to
            self._settings = wanted
            self._reviews = None if traces is None else traces.of(settings.Controller.ADMISSION)
            if traces is not None:
                self._cap.change(traces.parent_traces_per_second)
            self._describe_ourselves(wanted.resource_attributes)

    def redact(self, redacted: logsettings.Redacted) -> None:
        """Tell nobody of these fields from now on, until settings say otherwise."""
        self.redacted_paths = redacted.paths
        self._log_handler.hide(redacted.fields)

    async def shutdown(self, patience: float) -> None:
        """Deliver what waits within `patience` seconds, count the rest as dropped, and stop."""
        async with self._applying:
            self._settings = settings.TelemetrySettings(metrics=self._settings.metrics)
            self._reviews = None
            self._log_handler.follow(logsettings.LogSettings())
            await asyncio.gather(self._ways.close(patience), asyncio.to_thread(self.push.close, patience))
            await asyncio.to_thread(self.meter_provider.shutdown)

    def _tracer_of(self, controller: settings.Controller, version: str | None) -> "Tracer":
        """Make a tracer with a sampler of its own; the SDK has one tracer per scope, so the scope says whose it is."""
        tracer = self.tracer_provider.get_tracer(SCOPE, version, attributes={semconv.CONTROLLER: controller.value})
        if isinstance(tracer, SDKTracer):  # it is not where OTEL_SDK_DISABLED is set
            tracer.sampler = sampling.LiveSampler(
                lambda: None if self._settings.traces is None else self._settings.traces.of(controller)
            )
        return tracer

    def _observe_metrics(self, version: str | None) -> None:
        """Have the metrics tell of themselves, and of the version."""
        made, sizes, status = self.instruments, self.cells.sizes, self.push.status
        made.metric_series.observe(lambda: [((name,), size) for name, size, _ in sizes() if size])
        made.metric_overflow.observe(lambda: [((name,), count) for name, _, count in sizes() if count])
        made.metric_points_exported.observe(lambda: [((), status().sent)])
        made.metric_points_dropped.observe(lambda: [((), status().dropped)])
        made.info.observe(lambda: [(version or "",)])

    def _affords(self, decision: sampling.Decision, now: int) -> bool:
        """Whether a keep rule may have its way; a caller's wish that was refused at the start is not counted twice."""
        refused = decision.parent is not None and decision.parent.sampled
        return self._callers_known or self._cap.admits(now, again=refused)

    def _on_the_wall(self, moment_ns: int) -> int:
        return self._wall_clock() - (self._clock() - moment_ns)

    def _collect(self) -> push.Collected:
        """Read all metrics: those of the SDK's instruments, and the cells, these when they are taken."""
        collected = self._reader.read()
        theirs = (
            metricencoding.Scoped(each.scope, metric)
            for of_resource in (collected.resource_metrics if collected is not None else ())
            for each in of_resource.scope_metrics
            for metric in each.metrics
        )
        ours = (metricencoding.Scoped(self.cells.scope, part) for part in self.cells.parts(push.BATCH))
        return push.Collected(self._resource, itertools.chain(theirs, ours))

    def _describe_ourselves(self, configured: Mapping[str, str]) -> None:
        attributes = resource.attributes_of(self._facts, self._environ, configured)
        self._resource.replace(attributes)
        self.prometheus.show_resource(attributes)


def _as_it_is(span: ReadableSpan) -> ReadableSpan:
    return span
