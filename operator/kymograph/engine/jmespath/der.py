"""ASN.1 in the distinguished encoding (X.690), as far as certificates need it: elements and a few primitive values.

Elements are views into the bytes they came from, so that raw parts can be shown as they are. Lengths are checked
before they are believed; indefinite lengths and tags beyond 30 are refused, as Go does.
"""

from typing import NamedTuple

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, OID = 0x01, 0x02, 0x03, 0x04, 0x06
SEQUENCE, SET = 0x30, 0x31
UTC_TIME, GENERALIZED_TIME = 0x17, 0x18
_ENCODINGS = {
    0x0C: "utf-8",  # UTF8String
    0x12: "ascii",  # NumericString
    0x13: "ascii",  # PrintableString
    0x14: "latin-1",  # T61String
    0x16: "ascii",  # IA5String
    0x1E: "utf-16-be",  # BMPString
}


class Malformed(ValueError):
    """The bytes are no DER, or not of the type that was expected."""


class Element(NamedTuple):
    """One element.

    Attributes:
        tag: Its first byte.
        raw: All its bytes.
        content: Its bytes after tag and length.
    """

    tag: int
    raw: bytes
    content: bytes

    def children(self) -> list["Element"]:
        """The elements that a constructed element holds."""
        return read_all(self.content)

    def inner(self) -> "Element":
        """The one element that an explicit tag or an octet string wraps."""
        return read(self.content)

    def expect(self, tag: int) -> "Element":
        """The element itself if it has a tag.

        Raises:
            Malformed: It has another.
        """
        if self.tag != tag:
            raise Malformed(f"tag {self.tag:#x} where {tag:#x} was expected")
        return self

    def integer(self) -> int:
        """A whole number of 64 bits at most."""
        if len(self.content) > 8:
            raise Malformed("integer too large")
        return self.big_integer()

    def big_integer(self) -> int:
        """A whole number of any size."""
        return int.from_bytes(self.content, "big", signed=True)

    def oid(self) -> tuple[int, ...]:
        """An object identifier."""
        numbers: list[int] = []
        value = 0
        for byte in self.content:
            value = value << 7 | byte & 0x7F
            if value >> 31:
                raise Malformed("base 128 integer too large")
            if byte < 0x80:
                numbers.append(value)
                value = 0
        if not numbers or value:
            raise Malformed("an object identifier is cut off")
        first = min(numbers[0] // 40, 2)
        return (first, numbers[0] - 40 * first, *numbers[1:])

    def bits(self) -> bytes:
        """The bytes of a bit string without the count of unused bits."""
        if not self.content:
            raise Malformed("a bit string is empty")
        return self.content[1:]

    def text(self) -> str | None:
        """A string of any of the kinds that names use; None for other elements."""
        encoding = _ENCODINGS.get(self.tag)
        return None if encoding is None else self.content.decode(encoding)


def read(data: bytes) -> Element:
    """Read exactly one element.

    Raises:
        Malformed: The bytes are none, or more.
    """
    elements = read_all(data)
    if len(elements) != 1:
        raise Malformed(f"{len(elements)} elements where one was expected")
    return elements[0]


def read_all(data: bytes) -> list[Element]:
    """Read elements one after another.

    Raises:
        Malformed: The bytes are no elements.
    """
    elements: list[Element] = []
    start = 0
    while start < len(data):
        header = start + 2
        if header > len(data) or data[start] & 0x1F == 0x1F:
            raise Malformed("truncated tag or length")
        length = data[start + 1]
        if length & 0x80:
            count = length & 0x7F
            if not 0 < count <= 4 or header + count > len(data):
                raise Malformed("truncated tag or length")
            length = int.from_bytes(data[header : header + count], "big")
            header += count
        end = header + length
        if end > len(data):
            raise Malformed("data truncated")
        elements.append(Element(data[start], data[start:end], data[header:end]))
        start = end
    return elements
