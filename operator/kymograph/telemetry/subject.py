"""What the work of this task is about: known to whoever logs and calls in it, without being handed down to them.

A library that logs while a review is served knows neither the review's uid nor that its object is a Secret. Both are
said here by whoever serves, and asked for where records and the spans of calls are made.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

Hide: TypeAlias = Callable[[str], str]
"""Takes out of a text what nobody is to be told."""


class Subject(NamedTuple):
    """What work is about.

    Attributes:
        uid: The uid of the AdmissionReview that is served; empty for none.
        hide: Takes out what its object holds and nobody is to be told; None where all of it may be told.
    """

    uid: str = ""
    hide: Hide | None = None

    def told(self, text: str) -> str:
        """A text as it may be told."""
        return text if self.hide is None else self.hide(text)


NOTHING = Subject()

_current: contextvars.ContextVar[Subject] = contextvars.ContextVar("kymograph.subject", default=NOTHING)


@contextlib.contextmanager
def concerning(what: Subject) -> Iterator[None]:
    """Say what the work of this task, and of those that it starts, is about."""
    token = _current.set(what)
    try:
        yield
    finally:
        _current.reset(token)


def current() -> Subject:
    """What the work of this task is about."""
    return _current.get()
