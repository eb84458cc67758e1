"""How a client's call finds the request it is made for, and gets a span of its own.

Within a review the span is recorded with the review's other steps; outside of one it is a span of the shared tracer,
under the current one. A client need not know which: it opens `ClientSpans.start`, sends `headers`, and says how it
went. The context variable is set only where a review leaves the synchronous path (`serving`).
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from kymograph.telemetry import credentials, propagators, rendering, semconv, subject

if TYPE_CHECKING:
    from opentelemetry.util.types import AnyValue

    from kymograph.telemetry.recorder import Recorder


class _Place(NamedTuple):
    """Where in a request we are: `span_id` is the client span around us, or 0."""

    recorder: "Recorder"
    span_id: int


Called: TypeAlias = "Callable[[Mapping[str, AnyValue], Mapping[str, AnyValue], float], None]"
"""Takes a call's attributes, those that its result added, and how many seconds it took."""

_UNTRACED = "untraced"
_place: contextvars.ContextVar[_Place | str | None] = contextvars.ContextVar("kymograph.request", default=None)


@contextlib.contextmanager
def serving(recorder: "Recorder", what: subject.Subject | None = None) -> Iterator[None]:
    """Make a request's recorder the one that clients find, in this task and those it starts.

    Args:
        recorder: The recorder.
        what: What the request is about; None where that is said already.
    """
    token = _place.set(_Place(recorder, 0))
    try:
        with subject.concerning(subject.current() if what is None else what):
            yield
    finally:
        _place.reset(token)


@contextlib.contextmanager
def untraced() -> Iterator[None]:
    """Have clients make no spans in this task: for looks that would say the same every few seconds."""
    token = _place.set(_UNTRACED)
    try:
        yield
    finally:
        _place.reset(token)


def context() -> tuple[int, int] | None:
    """The trace id and span id of what is going on: of the review being served, else of the current span, if any."""
    found = place()
    return None if found is None else found[:2]


def place() -> tuple[int, int, bool] | None:
    """The same, and whether the trace is sampled: by its caller, by us, or as far as is known until its end."""
    around = _place.get()
    if isinstance(around, _Place):
        decision = around.recorder.decision
        return decision.trace_id, around.span_id or decision.span_id, decision.sampled or decision.recorded
    found = trace.get_current_span().get_span_context()
    return (found.trace_id, found.span_id, found.trace_flags.sampled) if found.is_valid else None


class ClientSpan(Protocol):
    """A call to another process that is under way."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers to add to the call, in the forms that are configured. They are for hosts that are ours."""

    def set_status(self, code: int, *, expected: bool = False) -> None:
        """Say what HTTP status came back; 400 and above is an error, unless the caller reckoned with that one.

        What is expected stays no error if the caller makes an exception of it that leaves the `with` block.
        """

    def fail(self, error: BaseException) -> None:
        """Say that the call failed. An exception that leaves the `with` block is noted by itself."""


class ClientSpans:
    """Opens client spans.

    Args:
        tracer: The shared tracer, for calls that no request is waiting for.
        clock: The monotonic clock of recorders, in nanoseconds.
        called: Is told of each call at its end: its attributes, those that its result added, and its seconds.
        forms: Gives the forms in which those we call are told of a trace that is no review's.
    """

    def __init__(
        self,
        tracer: trace.Tracer,
        clock: Callable[[], int],
        called: "Called | None" = None,
        forms: Callable[[], propagators.Propagators] = lambda: propagators.W3C,
    ) -> None:
        self._tracer = tracer
        self._clock = clock
        self._called = called
        self._forms = forms

    def start(self, name: str, attributes: "Mapping[str, AnyValue]") -> AbstractContextManager[ClientSpan]:
        """Open a span for one call.

        Args:
            name: Of low cardinality: `KUBE get pods`, `HTTP GET`.
            attributes: What is known before the call.

        Returns:
            A context manager for the call's duration; spans opened inside it are part of this one.
        """
        opened = self._opened(name, attributes)
        return opened if self._called is None else self._counted(opened, attributes, self._called)

    def _opened(self, name: str, attributes: "Mapping[str, AnyValue]") -> "AbstractContextManager[_Call]":
        place = _place.get()
        if place is None:
            return self._traced(name, attributes)
        if isinstance(place, str):
            return contextlib.nullcontext(_Call({}))
        return self._recorded(place, name, attributes)

    @contextlib.contextmanager
    def _counted(
        self, opened: "AbstractContextManager[_Call]", attributes: "Mapping[str, AnyValue]", called: Called
    ) -> "Iterator[_Call]":
        began, call = self._clock(), _Call({})
        try:
            with opened as call:
                yield call
        except BaseException as error:
            call.fail(error)
            raise
        finally:
            called(attributes, call.attributes, (self._clock() - began) / 1e9)

    @contextlib.contextmanager
    def _recorded(self, place: _Place, name: str, attributes: "Mapping[str, AnyValue]") -> "Iterator[_Call]":
        recorder, around = place
        if not recorder.recording:
            yield _Call(recorder.headers())
            return
        span_id = recorder.client_begin(name, attributes, self._clock(), around)
        call = _Call(recorder.headers(span_id))
        token = _place.set(_Place(recorder, span_id))
        try:
            yield call
        except BaseException as error:
            call.fail(error)
            raise
        finally:
            _place.reset(token)
            recorder.client_end(span_id, call.attributes, call.error, self._clock())

    @contextlib.contextmanager
    def _traced(self, name: str, attributes: "Mapping[str, AnyValue]") -> "Iterator[_Call]":
        if (hide := subject.current().hide) is not None:
            attributes = {key: hide(value) if isinstance(value, str) else value for key, value in attributes.items()}
        span = self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=rendering.bounded_values(attributes))
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            call = _Call(_headers(span.get_span_context(), self._forms()))
            try:
                yield call
            except BaseException as error:
                call.fail(error)
                raise
            finally:
                span.set_attributes(call.attributes)
                if call.error:
                    span.set_status(Status(StatusCode.ERROR, call.error))


class _Call:
    """What a client says about its call, until the span ends."""

    __slots__ = ("_expected", "attributes", "error", "headers")

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.headers = headers
        self.attributes: dict[str, AnyValue] = {}
        self.error = ""
        self._expected = False

    def set_status(self, code: int, *, expected: bool = False) -> None:
        self.attributes[semconv.HTTP_RESPONSE_STATUS_CODE] = code
        self._expected = expected
        if code >= 400 and not expected:
            self.attributes[semconv.ERROR_TYPE] = str(code)
            self.error = f"HTTP {code}"

    def fail(self, error: BaseException) -> None:
        if self._expected:
            return
        self.attributes[semconv.ERROR_TYPE] = type(error).__qualname__
        self.error = rendering.bounded(_said(error) or type(error).__qualname__)


def _said(error: BaseException) -> str:
    return credentials.without_queries(subject.current().said(error))


def _headers(context: trace.SpanContext, forms: propagators.Propagators) -> dict[str, str]:
    if not context.is_valid:
        return {}
    return forms.write(
        context.trace_id,
        context.span_id,
        sampled=context.trace_flags.sampled,
        tracestate=context.trace_state.to_header(),
    )
