"""What the work of this task is about: known to whoever logs and calls in it, without being handed down to them.

A library that logs while a review is served knows neither the review's uid nor that its object is a Secret. Both are
said here by whoever serves, and asked for where records and the spans of calls are made.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

Hide: TypeAlias = Callable[[str], str]
"""Takes out of a text what nobody is to be told."""


@runtime_checkable
class Quoting(Protocol):
    """An exception whose text may quote what a call was about."""

    @property
    def bare(self) -> Exception:
        """The same without that part of the text."""


class Subject(NamedTuple):
    """What work is about.

    Attributes:
        uid: The uid of the AdmissionReview that is served; empty for none.
        hide: Takes out what its object holds and nobody is to be told; None where all of it may be told.
        unseen: Nobody has looked at its object, which may hold such a thing: of what others say of it their words are
            not told.
    """

    uid: str = ""
    hide: Hide | None = None
    unseen: bool = False

    def told(self, text: str) -> str:
        """A text as it may be told."""
        return text if self.hide is None else self.hide(text)

    def said(self, error: BaseException) -> str:
        """What an exception says, as it may be told."""
        return self.told(str(error.bare if self.unseen and isinstance(error, Quoting) else error))


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
