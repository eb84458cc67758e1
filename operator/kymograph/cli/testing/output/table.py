"""Rows as a table with the columns of `kyverno test`."""

from collections.abc import Callable, Iterable, Sequence

from kymograph.cli.testing import rows
from kymograph.cli.testing.output import colour

_COLUMNS = ("ID", "POLICY", "RULE", "RESOURCE", "RESULT", "REASON")
_WIDEST = 300
_DETAIL_WIDTH = 100


def render(shown: Iterable[rows.Row], palette: colour.Palette, *, detailed: bool) -> str:
    """The table, without a line end after its last line.

    Args:
        shown: The rows.
        palette: Colours cells.
        detailed: Show what rules said, in a column of its own.
    """
    columns = (*_COLUMNS, "MESSAGE") if detailed else _COLUMNS
    cells = [_cells(row, detailed=detailed) for row in shown]
    widths = [
        max(len(title), *(len(line) for row in cells for line in row[index])) if cells else len(title)
        for index, title in enumerate(columns)
    ]
    styles: tuple[Callable[[str], str], ...] = (
        str,
        palette.name,
        palette.name,
        palette.name,
        palette.result,
        palette.reason,
        str,
    )
    rule = "│" + "│".join("─" * (width + 2) for width in widths) + "│"
    head = _line([palette.header(title.ljust(width)) for title, width in zip(columns, widths, strict=True)])
    lines = [rule, head, rule]
    for row in cells:
        for number in range(max(map(len, row))):
            texts = [cell[number] if number < len(cell) else "" for cell in row]
            lines.append(
                _line(
                    [
                        style(text) + " " * (width - len(text))
                        for style, text, width in zip(styles, texts, widths, strict=False)
                    ]
                )
            )
    return "\n".join([*lines, rule])


def _cells(row: rows.Row, *, detailed: bool) -> list[list[str]]:
    texts = [str(row.id), row.policy, row.rule, row.resource, row.result, row.reason]
    cells = [[text[:_WIDEST]] for text in texts]
    if detailed:
        cells.append([piece for line in row.message.splitlines() or [""] for piece in _wrapped(line)])
    return cells


def _wrapped(line: str) -> Sequence[str]:
    """A line in pieces that fit, broken between words where there are any."""
    pieces = []
    while len(line) > _DETAIL_WIDTH:
        cut = line.rfind(" ", 1, _DETAIL_WIDTH + 1)
        cut = cut if cut > 0 else _DETAIL_WIDTH
        pieces.append(line[:cut])
        line = line[cut:].lstrip()
    return [*pieces, line]


def _line(cells: Sequence[str]) -> str:
    return "│ " + " │ ".join(cells) + " │"
