"""Waiting for what is about to become true, instead of sleeping for as long as it might take."""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def until(what: str, look: Callable[[], T], timeout: float = 60.0, poll: float = 0.02) -> T:
    """Looks until it sees something true, and returns that.

    Args:
        what: What is waited for, as the failure says it.
        look: Returns something true when it has come.
        timeout: Seconds.
        poll: Seconds between two looks.

    Raises:
        AssertionError: It did not come in time.
    """
    deadline = time.monotonic() + timeout
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not true within {timeout:g} s: {what}")
        time.sleep(poll)
    return found


def until_nothing_is_left(look: Callable[[], str], timeout: float) -> None:
    """Looks until it hears of nothing that is not as it should be.

    Args:
        look: Says what is not as it should be yet; empty for nothing.
        timeout: Seconds.

    Raises:
        AssertionError: What it heard of last.
    """
    deadline = time.monotonic() + timeout
    while left := look():
        if time.monotonic() > deadline:
            raise AssertionError(f"still after {timeout:g} s: {left}")
        time.sleep(0.05)


def as_long_as_it_gets_less(look: Callable[[], Sequence[str]], patience: float = 90.0) -> None:
    """Looks until nothing is left, however long that takes on a slow machine, but only as long as it gets less.

    Args:
        look: Says what is not as it should be yet.
        patience: Seconds in which it has to get less.

    Raises:
        AssertionError: What was left last.
    """
    least, deadline = len(left := look()), time.monotonic() + patience
    while left:
        if time.monotonic() > deadline:
            raise AssertionError(f"for {patience:g} s no less was left than {len(left)}: {', '.join(left[:5])}")
        time.sleep(0.2)
        left = look()
        if len(left) < least:
            least, deadline = len(left), time.monotonic() + patience
