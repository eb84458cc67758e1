"""Protobuf's wire format, written directly: the parts that OTLP's signals are put together from.

Field numbers: opentelemetry/proto/common/v1/common.proto and resource/v1/resource.proto.
"""

import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.util.types import AnyValue

fixed64 = struct.Struct("<Q").pack
double = struct.Struct("<d").pack
fixed32 = struct.Struct("<I").pack


def varint(number: int) -> bytes:
    """Encode an unsigned integer below 2^64."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


SHORT = [varint(number) for number in range(1 << 14)]
"""The encodings of small integers."""


def length(data: bytes) -> bytes:
    """Encode how many bytes follow."""
    size = len(data)
    return SHORT[size] if size < 1 << 14 else varint(size)


def field(tag: bytes, data: bytes) -> bytes:
    """A length-delimited field: a string, bytes or a message."""
    return tag + length(data) + data


def text(tag: bytes, value: str | None) -> bytes:
    """A string field; an empty one is left out."""
    return field(tag, value.encode("utf-8", "replace")) if value else b""


def attributes(tag: bytes, values: "Mapping[str, AnyValue] | None") -> bytes:
    """A repeated KeyValue field."""
    return b"".join(field(tag, key_value(key, value)) for key, value in (values or {}).items())


def key_value(key: str, value: "AnyValue") -> bytes:
    """A KeyValue message."""
    return text(b"\x0a", key) + field(b"\x12", any_value(value))


def any_value(value: "AnyValue") -> bytes:
    """An AnyValue message."""
    if isinstance(value, str):
        return field(b"\x0a", value.encode("utf-8", "replace"))
    if value is None:
        return b""
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        if -1 << 63 <= value < 1 << 63:
            return b"\x18" + varint(value & (1 << 64) - 1)
        return field(b"\x0a", str(value).encode())  # a number that JSON can hold and OTLP cannot
    if isinstance(value, float):
        return b"\x21" + double(value)
    if isinstance(value, bytes):
        return field(b"\x3a", value)
    if isinstance(value, Mapping):
        return field(b"\x32", b"".join(field(b"\x0a", key_value(str(key), each)) for key, each in value.items()))
    return field(b"\x2a", b"".join(field(b"\x0a", any_value(each)) for each in value))


def resource(described: "Resource") -> bytes:
    """A Resource message."""
    return attributes(b"\x0a", described.attributes)


def scope(described: "InstrumentationScope | None") -> bytes:
    """An InstrumentationScope message."""
    if described is None:
        return b""
    return text(b"\x0a", described.name) + text(b"\x12", described.version) + attributes(b"\x1a", described.attributes)
