"""The parts of a step's span that are the same in every trace, written once.

A policy or rule that ends as it always ends says the same in every request: its name, its attributes, its result. What
differs is ids and times. Templates are kept for the (step, subject, outcome) of recent traces only: they hold on to
their subjects, and a policy that was replaced is to be let go of.
"""

from collections.abc import Callable
from typing import TypeAlias

from opentelemetry.trace import SpanKind, Status, StatusCode

from kymograph.telemetry import memory, recorder, rendering, semconv, spanencoding, wire

MAX_BYTES = memory.WRITTEN // 4
"""Bytes of the templates of one generation, and there are two: some 1,300 of the usual length."""

OVERHEAD = 768
"""Bytes that a template holds beside what is written of it: its key, its object and a message."""

GENERATION = 1_024
"""Traces after which what none of them used is a generation old; at the next turn it is forgotten."""

MAX_REMEMBERED_MESSAGE = 256
"""Characters of a message that a template remembers."""

_Key: TypeAlias = tuple[object, int, str]


class Template:
    """How the span of a step ends whose subject and outcome are known: all but its ids and times.

    Args:
        opening: Its name, kind and attributes: fields of a Span message.
        code: The step's code.
        outcome: The step's outcome.

    Attributes:
        size: Bytes that it holds, about.
        last: A message, and what was written with it. Most steps have none or the same in every trace. One tuple, so
            that a thread cannot take the one of these and miss the other.
    """

    __slots__ = ("_opening", "_outcome", "_violation", "last", "size")

    def __init__(self, opening: bytes, code: int, outcome: str) -> None:
        self._opening = opening
        self._outcome = outcome
        self._violation = rendering.is_violation(code, outcome)
        self.last: tuple[str | None, bytes] = (None, b"")
        self.size = OVERHEAD + 2 * len(opening)

    def saying(self, detail: str, end: int) -> bytes:
        """Write it with a message.

        Args:
            detail: The message; it may be empty.
            end: The step's end, in nanoseconds since the epoch.

        Returns:
            Fields of a Span message; the same is in `last` if it fits any other trace.
        """
        text = rendering.bounded(detail)
        parts = [self._opening]
        if text:
            parts.append(spanencoding.attribute(semconv.MESSAGE, text))
        if self._violation:
            parts.append(spanencoding.event_of(semconv.EVENT_VIOLATION, {semconv.MESSAGE: text}, end))
        status = Status(StatusCode.ERROR, text) if self._outcome == rendering.ERROR else Status()
        whole = b"".join((*parts, spanencoding.status(status), spanencoding.FLAGS))
        if not self._violation and len(detail) <= MAX_REMEMBERED_MESSAGE:
            self.last = detail, whole
        return whole


class Templates:
    """Makes templates and remembers them. Two threads may use it at a time: both then make the same.

    Args:
        describe: Names a step and gives its attributes.
    """

    def __init__(self, describe: rendering.Describe) -> None:
        self._describe = describe
        self._recent: dict[_Key, Template] = {}
        self._older: dict[_Key, Template] = {}
        self._traces = 0
        self._size = 0  # of the recent ones

    def begin(self) -> Callable[[_Key], Template | None]:
        """A trace is to be written.

        Returns:
            Looks up the template of a (subject, step's code, outcome): the fast way, and None where `make` has to.
        """
        self._traces += 1
        if self._traces % GENERATION == 0:
            self._age()
        return self._recent.get

    def make(self, subject: object, code: int, outcome: str) -> Template:
        """The template of a step, remembered from then on.

        Not so of needs: every request has its own, and one can hold as much as the request does.
        """
        key = subject, code, outcome
        template = self._older.get(key)
        if template is None:
            name, described = self._describe(code, subject)
            attributes = {**rendering.bounded_values(described), rendering.RESULT_KEYS[code]: outcome}
            opening = b"".join(
                (
                    wire.text(b"\x2a", name),
                    spanencoding.KINDS[SpanKind.INTERNAL],
                    *(spanencoding.attribute(key, value) for key, value in attributes.items()),
                )
            )
            template = Template(opening, code, outcome)
        if code == recorder.NEED:
            return template
        if self._size + template.size > MAX_BYTES:
            self._age()
        self._recent[key] = template
        self._size += template.size
        return template

    def _age(self) -> None:
        self._recent, self._older, self._size = {}, self._recent, 0
