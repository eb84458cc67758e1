"""A DNS that says what a test wants, and may say something else the next time."""

import socket

from aiohttp import abc


class Resolving(abc.AbstractResolver):
    """Answers by name; a list of lists is given out one by one, the last one again and again.

    Attributes:
        asked: The names, oldest first.
    """

    def __init__(self, **answers: list[list[str]]) -> None:
        self.answers = {name.replace("_", "."): list(given) for name, given in answers.items()}
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[abc.ResolveResult]:
        """See `aiohttp.abc.AbstractResolver`."""
        self.asked.append(host)
        if host not in self.answers:
            raise OSError(f"{host} is not known")
        given = self.answers[host]
        found = given.pop(0) if len(given) > 1 else given[0]
        return [
            abc.ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in found
        ]

    async def close(self) -> None:
        """See `aiohttp.abc.AbstractResolver`."""
