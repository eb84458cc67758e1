"""Why a text is no JSON, in the words of Go's `encoding/json`. It only explains; another parser reads."""

import math
import re

_BLANK = " \t\r\n"
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_WORDS = {"t": "true", "f": "false", "n": "null"}
_END = "unexpected end of JSON input"
_DEEPEST = 500


class _Stop(Exception):
    """The text goes wrong here; carries the words."""


def complaint(text: str) -> str:
    """What Go says of a text that is no JSON."""
    scan = _Scan(text)
    try:
        scan.value(0)
        scan.blank()
        if scan.at < len(text):
            scan.stop("after top-level value")
    except _Stop as stop:
        return str(stop)
    return "json: the value cannot be held"


class _Scan:
    def __init__(self, text: str) -> None:
        self._text = text
        self.at = 0

    def stop(self, context: str) -> None:
        if self.at >= len(self._text) and context == "in string literal":
            raise _Stop(_END)
        character = self._text[self.at] if self.at < len(self._text) else " "  # Go ends a text with a blank
        shown = {"'": "'\\''", '"': "'\"'", "\\": "'\\\\'", "\n": "'\\n'", "\r": "'\\r'", "\t": "'\\t'"}.get(character)
        if shown is None:
            byte = character.encode("utf-8", "surrogatepass")[0]  # Go looks at bytes
            shown = f"'\\x{byte:02x}'" if byte < 0x20 or byte == 0x7F else f"'{chr(byte)}'"
        raise _Stop(f"invalid character {shown} {context}")

    def blank(self) -> None:
        while self.at < len(self._text) and self._text[self.at] in _BLANK:
            self.at += 1

    def _peek(self) -> str:
        self.blank()
        if self.at >= len(self._text):
            raise _Stop(_END)
        return self._text[self.at]

    def value(self, depth: int) -> None:
        if depth > _DEEPEST:
            raise _Stop("exceeded max depth")
        character = self._peek()
        if character == "{":
            self._object(depth)
        elif character == "[":
            self._array(depth)
        elif character == '"':
            self._string()
        elif character in _WORDS:
            self._word(_WORDS[character])
        elif character == "-" or character.isdecimal():
            self._number()
        else:
            self.stop("looking for beginning of value")

    def _object(self, depth: int) -> None:
        self.at += 1
        if self._peek() == "}":
            self.at += 1
            return
        while True:
            if self._peek() != '"':
                self.stop("looking for beginning of object key string")
            self._string()
            if self._peek() != ":":
                self.stop("after object key")
            self.at += 1
            self.value(depth + 1)
            if self._peek() == "}":
                self.at += 1
                return
            if self._text[self.at] != ",":
                self.stop("after object key:value pair")
            self.at += 1

    def _array(self, depth: int) -> None:
        self.at += 1
        if self._peek() == "]":
            self.at += 1
            return
        while True:
            self.value(depth + 1)
            if self._peek() == "]":
                self.at += 1
                return
            if self._text[self.at] != ",":
                self.stop("after array element")
            self.at += 1

    def _string(self) -> None:
        self.at += 1
        while True:
            plain = _PLAIN.match(self._text, self.at)
            self.at = plain.end() if plain is not None else self.at
            if self._text[self.at : self.at + 1] == '"':
                self.at += 1
                return
            if self._text[self.at : self.at + 1] != "\\":
                self.stop("in string literal")
            self.at += 1
            escape = self._text[self.at : self.at + 1]
            if escape == "u":
                for _ in range(4):
                    self.at += 1
                    if self._text[self.at : self.at + 1] not in set("0123456789abcdefABCDEF"):
                        self.stop("in \\u hexadecimal character escape")
            elif escape not in set('"\\/bfnrt'):
                self.stop("in string escape code")
            self.at += 1

    def _word(self, word: str) -> None:
        for expected in word:
            if self._text[self.at : self.at + 1] != expected:
                self.stop(f"in literal {word} (expecting '{expected}')")
            self.at += 1

    def _number(self) -> None:
        found = _NUMBER.match(self._text, self.at)
        if found is None:
            self.at += 1
            self.stop("in numeric literal")
            return
        self.at = found.end()
        if math.isinf(float(found[0])):
            raise _Stop(f"json: cannot unmarshal number {found[0]} into Go value of type float64")
        following = self._text[self.at : self.at + 1]
        if following == "." and "." not in found[0] and "e" not in found[0].lower():
            self.at += 1
            self.stop("after decimal point in numeric literal")
        if following in ("e", "E") and "e" not in found[0].lower():
            self.at += 1 + (self._text[self.at + 1 : self.at + 2] in ("+", "-"))
            self.stop("in exponent of numeric literal")
