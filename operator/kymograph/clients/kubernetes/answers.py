"""How answers of the API server are read, and what is made of there being none."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import orjson

from kymograph.clients.kubernetes import errors

LINE_LIMIT = 64 * 1024 * 1024
"""Bytes of one event of a watch."""


def decoded(content: bytes) -> Any:
    """The JSON of an answer; None where it is none."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None


async def bounded(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body of an answer, decompressed.

    Raises:
        AnswerTooLarge: It has more bytes than the limit.
    """
    parts, size = [], 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > limit:
            raise errors.AnswerTooLarge(f"response length must be less than max allowed response length of {limit}")
        parts.append(part)
    return b"".join(parts)


async def lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The lines of a watch, of any length up to `LINE_LIMIT` (aiohttp's own reader refuses lines past its buffer).

    Raises:
        AnswerInvalid: A line is longer.
    """
    begun: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        first, *others = chunk.split(b"\n")
        begun.append(first)
        size += len(first)
        if size > LINE_LIMIT:
            raise errors.AnswerInvalid(f"an event of a watch is larger than {LINE_LIMIT} bytes")
        for following in others:
            if size:
                yield b"".join(begun)
            begun, size = [following], len(following)


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Have no error of the library leave the block: whatever keeps an answer away is Unreachable."""
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise errors.Unreachable(f"{type(error).__name__}: {error}") from error
