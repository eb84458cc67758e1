"""The table of `kymograph apply --table`, drawn as `kyverno apply` draws it.

Rows are kept in a temporary file until all widths are known, so that a table of millions of rows needs no memory.
"""

import textwrap
from collections.abc import Iterable, Iterator

import orjson

from kymograph.cli.applying import spool, work

_HEADINGS = ("ID", "POLICY", "RULE", "RESOURCE", "RESULT", "REASON", "MESSAGE")
_COLOURS = {"Pass": "32", "Fail": "31", "Warn": "33", "Error": "31", "Skip": "33"}
_WIDEST = 280
"""Characters of a line in a cell; longer messages go on below."""


class Table:
    """Rows on their way to the screen.

    Args:
        detailed: Show messages.
        coloured: Colour the results.
    """

    def __init__(self, *, detailed: bool, coloured: bool) -> None:
        self._detailed = detailed
        self._coloured = coloured
        self._rows = spool.Spool()
        self._count = 0
        self._headings = _HEADINGS if detailed else _HEADINGS[:-1]
        self._widths = [len(heading) for heading in self._headings]

    def add(self, rows: Iterable[work.Row]) -> None:
        """Add rows."""
        for row in rows:
            self._count += 1
            cells = [str(self._count), row.policy, row.rule, row.resource, row.result.title(), ""]
            message = textwrap.wrap(row.message, _WIDEST) or [""]
            lines = [[*cells, message[0]]] if self._detailed else [cells]
            lines += [[*[""] * len(cells), more] for more in message[1:]] if self._detailed else []
            for line in lines:
                self._widths = [max(width, len(cell)) for width, cell in zip(self._widths, line, strict=True)]
                self._rows.add(orjson.dumps(line).decode() + "\n")

    def close(self) -> None:
        """Drop the rows."""
        self._rows.close()

    def lines(self) -> Iterator[str]:
        """The lines of the table."""
        rule = "│" + "│".join("─" * (width + 2) for width in self._widths) + "│"
        yield rule
        yield self._line(self._headings)
        yield rule
        for line in self._rows.lines():
            yield self._line(orjson.loads(line))
        yield rule

    def _line(self, cells: Iterable[str]) -> str:
        padded = [f" {cell.ljust(width)} " for cell, width in zip(cells, self._widths, strict=True)]
        colour = _COLOURS.get(padded[4].strip()) if self._coloured else None
        if colour is not None:
            padded[4] = f"\x1b[{colour}m{padded[4]}\x1b[0m"
        return "│" + "│".join(padded) + "│"
