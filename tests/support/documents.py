"""The documentation's code blocks, as tests run them."""

import dataclasses
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[2]

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced code block.

    Attributes:
        document: The file, relative to the repository.
        heading: The heading it stands under.
        language: What its fence says; empty for commands.
        text: Its content.
    """

    document: str
    heading: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}: {self.heading}"

    @property
    def commands(self) -> list[str]:
        """Its lines as commands, without prompts and remarks; none where it is no shell."""
        if self.language not in {"", "console"}:
            return []
        lines = self.text.splitlines()
        if any(line.startswith("$ ") for line in lines):
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        return [line.partition("  #")[0].strip() for line in lines if line.strip()]


def blocks(path: str) -> list[Block]:
    """All code blocks of a document, in order."""
    text = (ROOT / path).read_text()
    headings = [(match.start(), match[1]) for match in _HEADING.finditer(text)]
    found = []
    for match in _BLOCK.finditer(text):
        heading = next((name for start, name in reversed(headings) if start < match.start()), "")
        found.append(Block(path, heading, match[1], match[2]))
    return found


def all_blocks() -> list[Block]:
    """Those of the README and of everything under docs."""
    pages = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))
    return [block for page in ("README.md", *pages) for block in blocks(page)]
