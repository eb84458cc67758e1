"""Waiting for what is about to become true, instead of sleeping for as long as it might take."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(what: str, look: Callable[[], T], timeout: float = 30.0, poll: float = 0.02) -> T:
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
