"""Kubernetes quantities (`resource.Quantity`): `100m`, `1.5Gi`, `12e6`, exactly.

Reading accepts and refuses what `resource.ParseQuantity` does, oddities included (`Ki`, `+` and `.` are zero), because
policies compare what the API server has already accepted. Values are exact decimals: no float ever stands for one.
Writing gives the canonical form of the API documentation. Where Go's writer drops a suffix it has no letter for
(`1000E` becomes `1`), this one keeps the largest letter instead.
"""

import dataclasses
import decimal
import enum
import functools
import re


class Format(enum.Enum):
    """Which family of suffixes a quantity was written with; it is written back with the same."""

    DECIMAL_SI = "DecimalSI"
    BINARY_SI = "BinarySI"
    DECIMAL_EXPONENT = "DecimalExponent"


_TEXT = re.compile(r"([+-]?)(0*)(\d*)(?:\.(\d*))?([eEinumkKMGTP]*[-+]?\d*)", re.ASCII)
_DECIMAL_SUFFIXES = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY_SUFFIXES = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_EXPONENT = re.compile(r"[eE]([-+]?\d+)", re.ASCII)
_NANO = -9  # the scale of the smallest amount; smaller ones are rounded up to it
_EXACT_DIGITS = 18
_NANO_UNIT = decimal.Decimal("1E-9")
_KIBI = 1024
_BINARY_LETTERS = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL_LETTERS = {exponent: letter for letter, exponent in _DECIMAL_SUFFIXES.items()}
_INT64_MAX = (1 << 63) - 1
_LONGEST = 1024  # digits beyond that are no amount of anything
_LONGEST_CACHED = 64


@functools.total_ordering
@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Quantity:
    """An exact amount and how it is written.

    Compares with other quantities, `Decimal` and `int`; the format takes no part in comparison.

    Attributes:
        value: The amount.
        format: The family of suffixes to write it with.
    """

    value: decimal.Decimal
    format: Format = Format.DECIMAL_SI

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Quantity):
            return self.value == other.value
        return self.value == other if isinstance(other, decimal.Decimal | int) else NotImplemented

    def __lt__(self, other: "Quantity | decimal.Decimal | int") -> bool:
        return self.value < (other.value if isinstance(other, Quantity) else other)

    def __hash__(self) -> int:
        return hash(self.value)

    def __str__(self) -> str:
        return _canonical(self.value, self.format)


def parse(text: str) -> Quantity:
    """Read a quantity.

    Raises:
        ValueError: Kubernetes would refuse the text.
    """
    found = find(text)
    if found is None:
        raise ValueError(
            f"{text[:100]!r} is no quantity: write a number and one of the suffixes "
            "n u m k M G T P E, Ki Mi Gi Ti Pi Ei, or an exponent such as e3"
        )
    return found


def find(text: str) -> Quantity | None:
    """Read a quantity where one may stand; None for any other text."""
    return _find_cached(text) if len(text) <= _LONGEST_CACHED else _find(text)


def _find(text: str) -> Quantity | None:
    parts = _TEXT.fullmatch(text) if len(text) <= _LONGEST else None
    if parts is None or not text:
        return None
    sign, zeros, whole, fraction, suffix = parts.groups()
    fraction = fraction or ""
    digits = f"{'-' if sign == '-' else ''}{whole or '0'}{fraction}"
    length = len(whole or "0") + len(fraction)
    written = bool(zeros or whole or fraction)
    power = _BINARY_SUFFIXES.get(suffix)
    if power is not None:
        if not written and (length > 14 - power * 3 // 10):
            return None
        return _binary(digits, len(fraction), power)
    exponent = _DECIMAL_SUFFIXES.get(suffix)
    shape = Format.DECIMAL_SI
    if exponent is None:
        shape = Format.DECIMAL_EXPONENT
        exponent = _exponent(suffix)
        if exponent is None:
            return None
    scale = exponent - len(fraction)
    if not written and scale < _NANO:
        return None
    value = decimal.Decimal(f"{digits}E{scale}")
    return Quantity(value if scale >= _NANO else _at_least_nano(value), shape)


_find_cached = functools.lru_cache(maxsize=4096)(_find)


def _exponent(suffix: str) -> int | None:
    parts = _EXPONENT.fullmatch(suffix)
    if parts is None or len(parts[1]) > 20 or not -(1 << 63) <= (given := int(parts[1])) < 1 << 63:
        return None
    return (given + (1 << 31)) % (1 << 32) - (1 << 31)  # Go cuts it to 32 bits


def _binary(digits: str, places: int, power: int) -> Quantity:
    if places == 0 and len(digits) <= _EXACT_DIGITS:
        return Quantity(decimal.Decimal(max(-_INT64_MAX, min(_INT64_MAX, int(digits) << power))), Format.BINARY_SI)
    exact = decimal.Context(prec=len(digits) + 20, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)
    value = exact.multiply(decimal.Decimal(f"{digits}E-{places}"), decimal.Decimal(1 << power))
    value = _at_least_nano(value)
    if abs(value) > _INT64_MAX:
        value = decimal.Decimal(_INT64_MAX).copy_sign(value)
    return Quantity(value, Format.DECIMAL_SI if 0 < abs(value) < 1 else Format.BINARY_SI)


def _at_least_nano(value: decimal.Decimal) -> decimal.Decimal:
    """Round what is finer than a billionth away from zero: who asks for a little gets a little."""
    digits, exponent = len(value.as_tuple().digits), value.as_tuple().exponent
    if not isinstance(exponent, int) or exponent >= _NANO:
        return value
    context = decimal.Context(prec=digits + 10, rounding=decimal.ROUND_UP, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)
    return context.quantize(value, _NANO_UNIT)


def _canonical(value: decimal.Decimal, shape: Format) -> str:
    """No fraction, the largest suffix that needs none, exponents in steps of three (or 1024)."""
    if not value:
        return "0"
    sign, digits, scale = value.as_tuple()
    amount, exponent = int("".join(map(str, digits))), int(scale)
    while amount % 10 == 0:
        amount //= 10
        exponent += 1
    if shape is Format.BINARY_SI and exponent >= 0 and abs(value) >= _KIBI:
        amount *= 10**exponent
        steps = 0
        while steps < len(_BINARY_LETTERS) - 1 and amount % _KIBI == 0:
            amount //= _KIBI
            steps += 1
        suffix = _BINARY_LETTERS[steps]
    else:
        target = exponent // 3 * 3
        if shape is not Format.DECIMAL_EXPONENT:
            target = min(target, 18)
        amount *= 10 ** (exponent - target)
        suffix = _suffix(target, shape)
    return f"{'-' if sign else ''}{amount}{suffix}"


def _suffix(exponent: int, shape: Format) -> str:
    if shape is Format.DECIMAL_EXPONENT:
        return f"e{exponent}" if exponent else ""
    return _DECIMAL_LETTERS[exponent]
