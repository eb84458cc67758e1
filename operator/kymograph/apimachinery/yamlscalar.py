"""What a YAML scalar means to Kubernetes: text, number, boolean or null.

Kubernetes reads YAML with sigs.k8s.io/yaml: YAML 1.1 as go-yaml v2 resolves it, converted to JSON. So `on`, `yes` and
`y` are booleans, `0777` is octal, `1e3` is the integer 1000, and what YAML 1.1 calls base 60 or a timestamp is text.
JSON has neither infinities nor NaN: as values they are refused.
"""

import base64
import binascii
import decimal
import math
import re
import struct
from typing import Any, Final

_INT64: Final = 1 << 63
_UINT64: Final = 1 << 64
_EXACT: Final = 1 << 53

_WORDS: Final[dict[str, Any]] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_INTEGER: Final = re.compile(
    r"[-+]?(?:0[xX](?P<x>[0-9a-fA-F]+)|0[bB](?P<b>[01]+)|0[oO]?(?P<o>[0-7]+)|(?P<d>0|[1-9][0-9]*))", re.ASCII
)
_BASES: Final = {"x": 16, "b": 2, "o": 8, "d": 10}
_SIGNED_BINARY: Final = re.compile(r"0b(?P<sign>[-+])(?P<digits>[01]+)")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_FRACTION: Final = re.compile(r"\.[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+(?:_[0-9]+)*)?", re.ASCII)
_NO_TEXT: Final = re.compile("[\udc80-\udcff]")
_TIMESTAMP: Final = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ].+)?", re.ASCII)
_TAG_PREFIX: Final = "tag:yaml.org,2002:"
_TYPES: Final = {"bool": bool, "int": int, "float": float, "null": type(None), "timestamp": None}
_NUMERIC: Final = frozenset("+-0123456789")
_SCIENTIFIC: Final = 6


class ScalarInvalid(ValueError):
    """A scalar does not hold what its tag says, or cannot be a key."""


def resolve(text: str) -> Any:
    """What a scalar written without quotes and without a tag is: str, bool, None, int (up to 64 bits) or float."""
    if text in _WORDS:
        return _WORDS[text]
    first = text[0]
    if first in _NUMERIC:
        return _number(text)
    if first == "." and _FRACTION.fullmatch(text):
        value = float(text)
        return text if math.isinf(value) else value
    return text


def resolve_tagged(tag: str, text: str) -> Any:
    """What a scalar with an explicit tag is: `tag:yaml.org,2002:int`, or a local one, which means text.

    Raises:
        ScalarInvalid: The text is no value of that type.
    """
    name = tag.removeprefix(_TAG_PREFIX) if tag.startswith(_TAG_PREFIX) else ""
    if name == "binary":
        return _binary(text)
    if name not in _TYPES or (name == "timestamp" and _TIMESTAMP.fullmatch(text)):
        return text
    value = resolve(text)
    if name == "float" and type(value) is int:
        return float(value)
    if type(value) is not _TYPES[name]:
        raise ScalarInvalid(f"cannot decode `{text}` as a !!{name}")
    return value


def json_value(value: Any) -> Any:
    """A resolved scalar as Kubernetes reads it back from JSON: whole numbers are int within 64 bits, else float.

    Raises:
        ScalarInvalid: It is an infinity or not a number, which JSON cannot write.
    """
    if type(value) is float:
        if not math.isfinite(value):
            raise ScalarInvalid("JSON has no infinity and no NaN; quote it if it is text")
        return _whole(value) if value.is_integer() else value
    if type(value) is int and not -_INT64 <= value < _INT64:
        return float(value)
    return value


def json_key(value: Any) -> str:
    """The JSON key that a resolved scalar becomes: numbers and booleans are written out.

    Raises:
        ScalarInvalid: Null cannot be a key, nor can an integer above 63 bits.
    """
    if type(value) is str:
        return value
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is float:
        return _float_key(value)
    if value is None or value >= _INT64:
        raise ScalarInvalid(f"a key cannot be {'null' if value is None else value}; quote it if it is text")
    return str(value)


def _number(text: str) -> Any:
    digits = text.replace("_", "")
    found = _INTEGER.fullmatch(digits)
    if found is not None:
        base = found.lastgroup or "d"
        value = int(found[base], _BASES[base])
        if digits[0] == "-":
            value = -value
        if -_INT64 <= value < _INT64 or (value < _UINT64 and digits[0] not in "+-"):
            return value
    binary = _SIGNED_BINARY.fullmatch(digits)
    if binary is not None:
        return int(binary["sign"] + binary["digits"], 2)
    if _FLOAT.fullmatch(digits):
        number = float(digits)
        return text if math.isinf(number) else number
    return text


def _whole(value: float) -> int | float:
    """Go writes a whole float as the digits of its shortest form; a reader takes them for an integer if they fit."""
    whole = int(decimal.Decimal(repr(value))) if abs(value) >= _EXACT else int(value)
    return whole if -_INT64 <= whole < _INT64 else value


def _binary(text: str) -> str:
    try:
        data = base64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ScalarInvalid("!!binary value contains invalid base64 data") from error
    return _NO_TEXT.sub("\ufffd", data.decode("utf-8", "surrogateescape"))


def _float_key(value: float) -> str:
    """Go's shortest form that names the same 32-bit float: scientific below 1e-4 and from 1e6 on."""
    if math.isnan(value):
        return ".nan"
    single = _single(value)
    if math.isinf(single):
        return ".inf" if single > 0 else "-.inf"
    shortest = next(text for places in range(9) if _single(float(text := f"{single:.{places}e}")) == single)
    mantissa, _, exponent = shortest.partition("e")
    power = int(exponent)
    if power < -4 or power >= _SCIENTIFIC:
        return f"{mantissa}e{power:+03d}"
    places = len(mantissa.lstrip("-").replace(".", "")) - 1 - power
    return f"{single:.{max(places, 0)}f}"


def _single(value: float) -> float:
    try:
        single: float = struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)
    return single
