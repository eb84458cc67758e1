"""The request target of a webhook call: its path, and how long the API server will wait."""

import functools
from typing import NamedTuple

import httptools

from kymograph.apimachinery import duration

DEFAULT_TIMEOUT = 10 * duration.SECOND
"""What the API server waits when a webhook sets no `timeoutSeconds` (admissionregistration.k8s.io/v1)."""
LONGEST_TIMEOUT = 30 * duration.SECOND
"""The most that `timeoutSeconds` allows; a query that says more is not an API server's."""
LARGEST_MARGIN = 500 * duration.MILLISECOND


class Target(NamedTuple):
    """What a request target says.

    Attributes:
        path: The path, not percent-decoded: webhook paths are ours and need no escapes.
        allowance: Nanoseconds from the arrival of the request to the latest useful answer.
    """

    path: str
    allowance: int


@functools.lru_cache(maxsize=256)
def parse(url: bytes) -> Target:
    """Reads a request target in origin form or absolute form.

    The API server appends `?timeout=10s`: what is left of `timeoutSeconds`, rounded up to whole seconds, written as a
    Go duration. The answer must leave earlier than that: a fifth of the time, at most half a second, is kept back for
    the way there and back. Targets repeat with every request, so they are remembered.

    Raises:
        ValueError: The target has another form.
    """
    try:
        parsed = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError as error:
        raise ValueError("not a request target") from error
    timeout = _timeout((parsed.query or b"").decode("ascii"))
    return Target((parsed.path or b"/").decode("ascii"), timeout - min(timeout // 5, LARGEST_MARGIN))


def _timeout(query: str) -> int:
    for parameter in query.split("&"):
        name, _, value = parameter.partition("=")
        if name == "timeout":
            timeout = duration.find(value)
            if timeout is not None and timeout > 0:
                return min(timeout, LONGEST_TIMEOUT)
    return DEFAULT_TIMEOUT
