"""Large files of objects, cut into parts without being parsed, so that memory does not grow with the file.

A part is small enough for one process to handle and holds whole documents, lines of JSON, or items of one List. Files
up to `WHOLE` characters between two separators are never cut inside a document; of larger ones, Lists in YAML (as
`kubectl get -o yaml` writes them: `items:` at the margin) and in JSON are cut between their items.
"""

import codecs
import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final, NamedTuple

import orjson

from kymograph.apimachinery import yamls

BLOCK: Final = 256 * 1024
WHOLE: Final = 4 * 1024 * 1024

DOCUMENTS, LINES, ITEMS = "documents", "lines", "items"

_YAML_ITEMS: Final = re.compile(r"^items:[ \t]*\n(?P<indent> *)(?=- )", re.MULTILINE)
_NEXT_FIELD: Final = re.compile(r"^[^\s#-]|^---", re.MULTILINE)
_JSON_ITEMS: Final = re.compile(r'"items"\s*:\s*\[')
_JSON_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}"]', re.DOTALL)


class Part(NamedTuple):
    """Consecutive text of a file.

    Attributes:
        file: Its name.
        line: The line the text begins on, from 1.
        text: The text.
        form: `documents`, separated by `---`; `lines` of JSON; or `items`, the list in YAML or JSON of a List's items.
    """

    file: str
    line: int
    text: str
    form: str


def parts(file: BinaryIO, name: str) -> Iterator[Part]:
    """Cut a file.

    Args:
        file: Read from where it stands, to its end.
        name: Its name.

    Raises:
        YAMLInvalid: It is no text, or a large document cannot be cut.
    """
    return _Cutter(name).cut(_decoded(file, name))


def _decoded(file: BinaryIO, name: str) -> Iterator[str]:
    block = file.read(BLOCK)
    encoding = "utf-16" if block[:2] in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE} else "utf-8-sig"
    decoder = codecs.getincrementaldecoder(encoding)()
    lines = 1
    while True:
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            at = lines + block[: error.start].count(b"\n")
            raise yamls.YAMLInvalid(name, at, 1, f"not {encoding[:6].rstrip('-').upper()} text") from None
        lines += text.count("\n")
        if text:
            yield text
        if not block:
            return
        block = file.read(BLOCK)


class _Cutter:
    """What of a file has been read and not yet handed out."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._line = 1
        self._pending = ""

    def cut(self, blocks: Iterator[str]) -> Iterator[Part]:
        while True:
            if len(self._pending) >= BLOCK:
                yield from self._complete(blocks)
            block = next(blocks, "")
            if not block:
                break
            self._pending += block
        if self._pending:
            yield self._take(len(self._pending), LINES if self._is_lines() else DOCUMENTS)

    def _complete(self, blocks: Iterator[str]) -> Iterator[Part]:
        """What is pending and needs nothing of what follows."""
        end = self._pending.rfind("\n---") + 1
        if end:
            yield self._take(end, DOCUMENTS)
        elif self._is_lines():
            yield self._take(self._pending.rfind("\n") + 1, LINES)
        elif len(self._pending) > WHOLE:
            yield from self._list(blocks)

    def _take(self, end: int, form: str, *, around: str = "") -> Part:
        text = self._pending[:end]
        part = Part(self._name, self._line, f"{around[:1]}{text}{around[1:]}", form)
        self._line += text.count("\n")
        self._pending = self._pending[end:]
        return part

    def _drop(self, end: int) -> str:
        return self._take(end, DOCUMENTS).text

    def _is_lines(self) -> bool:
        """Whether what is pending is one JSON object a line."""
        first, end, rest = self._pending.partition("\n")
        if not end or not first.startswith("{") or not rest.lstrip().startswith("{"):
            return False
        try:
            orjson.loads(first)
        except orjson.JSONDecodeError:
            return False
        return True

    def _list(self, blocks: Iterator[str]) -> Iterator[Part]:
        """Hand out the items of the large document that is pending, and leave what stands behind it pending."""
        found = _YAML_ITEMS.search(self._pending)
        if self._pending.lstrip().startswith("{"):
            yield from self._json_items(blocks)
        elif found is not None:
            yield from self._yaml_items(found, blocks)
        else:
            self._gather(blocks)

    def _gather(self, blocks: Iterable[str]) -> None:
        """Read on to the end of the document: it cannot be cut."""
        texts = [self._pending]
        for block in blocks:
            texts.append(block)
            if "\n---" in texts[-2][-4:] + block:
                break
        self._pending = "".join(texts)

    def _yaml_items(self, found: re.Match[str], blocks: Iterator[str]) -> Iterator[Part]:
        head_line = self._line
        head = self._drop(found.end() - len(found["indent"]))
        item = f"\n{found['indent']}- "
        while True:
            end = _NEXT_FIELD.search(self._pending)
            if end is not None:
                if end.start():
                    yield self._take(end.start(), ITEMS)
                break
            last = self._pending.rfind(item) + 1
            if last:
                yield self._take(last, ITEMS)
            block = next(blocks, "")
            if not block:
                yield self._take(len(self._pending), ITEMS)
                break
            self._pending += block
        while (stop := self._pending.find("\n---") + 1) == 0 and not self._pending.startswith("---"):
            block = next(blocks, "")
            if not block:
                break
            self._pending += block
        tail = self._drop(0 if self._pending.startswith("---") else stop or len(self._pending))
        self._demand_list(yamls.Reader().values(f"{head[:-1]} []\n{tail}", self._name, head_line), head_line)

    def _json_items(self, blocks: Iterator[str]) -> Iterator[Part]:
        found = _JSON_ITEMS.search(self._pending)
        if found is None:
            self._gather(blocks)
            return
        head_line = self._line
        head = self._drop(found.end())
        depth = position = last = 0
        while True:
            token = _JSON_TOKEN.search(self._pending, position)
            if token is None or token[0] == '"':  # nothing more, or the beginning of a text that is not all here
                if last:
                    yield self._take_json(last)
                depth = position = last = 0  # the item that is not all here is looked at again from its beginning
                block = next(blocks, "")
                if not block:
                    raise yamls.YAMLInvalid(self._name, self._line, 1, "the list does not end")
                self._pending += block
                continue
            position = token.end()
            if token[0] in "{[":
                depth += 1
            elif token[0] == "}" or (token[0] == "]" and depth):
                depth -= 1
                last = position if depth == 0 else last
            elif token[0] == "]":
                break
        if last:
            yield self._take_json(last)
        self._gather(blocks)
        stop = self._pending.find("\n---") + 1
        tail = self._drop(stop or len(self._pending))
        self._demand_list(yamls.Reader().values(head + tail, self._name, head_line), head_line)

    def _take_json(self, end: int) -> Part:
        """Hand out the JSON values up to an end as a list, without the comma that may stand before them."""
        comma = len(self._pending) - len(self._pending.lstrip(", \t\r\n"))
        self._drop(comma)
        return self._take(end - comma, ITEMS, around="[]")

    def _demand_list(self, values: list[object], line: int) -> None:
        match values:
            case [{"kind": str(kind)}] if kind.endswith("List"):
                return
        raise yamls.YAMLInvalid(self._name, line, 1, f"a document above {WHOLE >> 20} MiB with items is no List")
