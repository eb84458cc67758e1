"""Colour on a terminal: the few styles that tables use."""

from kymograph.cli.testing import rows

_RESET = "\x1b[0m"
_BOLD_CYAN, _BOLD_GREEN, _BOLD_RED, _BOLD_YELLOW = "\x1b[1;36m", "\x1b[1;32m", "\x1b[1;31m", "\x1b[1;33m"
_HEADER = "\x1b[32;40m"
_OF_RESULT = {rows.PASS: _BOLD_GREEN, rows.FAIL: _BOLD_RED, rows.SKIP: _BOLD_CYAN}
_NOTABLE = (rows.EXCLUDED, rows.NOT_FOUND, rows.INVALID_POLICY)


class Palette:
    """Colours texts, or leaves them as they are.

    Args:
        coloured: Whether to colour.
    """

    def __init__(self, *, coloured: bool) -> None:
        self._coloured = coloured

    def header(self, text: str) -> str:
        """The title of a column."""
        return self._dye(_HEADER, text)

    def name(self, text: str) -> str:
        """The name of a policy, rule or resource."""
        return self._dye(_BOLD_CYAN, text)

    def result(self, text: str) -> str:
        """A result."""
        return self._dye(_OF_RESULT.get(text, ""), text)

    def reason(self, text: str) -> str:
        """A reason: those that are worth a second look stand out."""
        notable = text in _NOTABLE or text.startswith(rows.NOT_SUPPORTED)
        return self._dye(_BOLD_YELLOW if notable else "", text)

    def _dye(self, style: str, text: str) -> str:
        return f"{style}{text}{_RESET}" if self._coloured and style and text.strip() else text
