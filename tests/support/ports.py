"""Ports on loopback for servers that stop and start again on the same one.

A port that was found free, or was free a moment ago, may be another process's when the server binds it. Here it is
bound from the beginning, by a socket that does not listen: connections are refused, the kernel gives it to nobody else,
and servers that allow addresses to be used again (SO_REUSEADDR) can listen on it.
"""

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def held() -> Iterator[int]:
    """A port of 127.0.0.1 that nobody else gets until the block is left."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        port: int = holder.getsockname()[1]
        yield port
