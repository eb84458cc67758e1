"""Kubernetes quantities (`resource.Quantity`): `100m`, `1.5Gi`, `12e6`, exactly.

Reading accepts and refuses what `resource.ParseQuantity` does, oddities included (`Ki`, `+` and `.` are zero), because
policies compare what the API server has already accepted. Values are exact decimals: no float ever stands for one.
Writing gives what `Quantity.String` gives, to the letter: where Go has no suffix for an exponent it writes none
(`1000E` becomes `1`), and policies that were written against Kyverno see the same.

Arithmetic is what Kyverno's expressions do with quantities; it refuses amounts so large that their digits would have
to be written out (`1e2000000000`), on which Go would work for minutes.
"""

import dataclasses
import decimal
import enum
import functools
import math
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
_LARGEST_POWER = 323  # powers of ten beyond it are infinite, or zero, as floats
_MOST_DIGITS = 4_000  # of a result; the largest float has 309


@functools.total_ordering
@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Quantity:
    """An exact amount and how it is written.

    Compares with other quantities, `Decimal` and `int`; the format takes no part in comparison.

    Attributes:
        value: The amount. Its exponent is the scale that Go would hold it with, which `approximate` and `divide`
            depend on.
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


def from_integer(number: int, shape: Format) -> Quantity:
    """A whole amount."""
    return Quantity(decimal.Decimal(number), shape)


def from_float(number: float) -> Quantity:
    """The quantity that Go reads from a float it has printed: the shortest digits, in billionths if they are finer.

    Raises:
        ValueError: The number is not finite.
    """
    if not math.isfinite(number):
        raise ValueError("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
    if not number:
        return parse("0")
    sign, digits, exponent = decimal.Decimal(repr(number)).normalize().as_tuple()
    highest = len(digits) + int(exponent) - 1
    if -4 <= highest < 6:
        return parse(f"{decimal.Decimal((sign, digits, int(exponent))):f}")
    text = "".join(map(str, digits))
    return parse(f"{'-' if sign else ''}{text[0]}.{text[1:]}e{highest:+03d}")


def add(left: Quantity, right: Quantity) -> Quantity:
    """The sum; zero takes the format of the other.

    Raises:
        ValueError: An amount is too large to compute with.
    """
    total = _exactly(left.value, right.value).add(left.value, right.value)
    return Quantity(total, left.format if left.value else right.format)


def subtract(left: Quantity, right: Quantity) -> Quantity:
    """The difference; zero takes the format of the other.

    Raises:
        ValueError: An amount is too large to compute with.
    """
    return add(left, Quantity(right.value.copy_negate() if right.value else right.value, right.format))


def multiply(left: Quantity, factor: Quantity) -> Quantity:
    """The product, exactly, in the format of the left.

    Raises:
        ValueError: An amount is too large to compute with.
    """
    product = _exactly(left.value, factor.value).multiply(left.value, factor.value)
    return Quantity(product, left.format)


def divide(left: Quantity, divisor: Quantity) -> Quantity:
    """The quotient in the format of the left, cut off (towards zero) at the finer scale of the two.

    Raises:
        ValueError: An amount is too large to compute with.
        ZeroDivisionError: The divisor is zero.
    """
    if not divisor.value:
        raise ZeroDivisionError("division of a quantity by zero")
    exact = _exactly(left.value, divisor.value)
    finer = decimal.Decimal((0, (1,), min(_exponent_of(left.value), _exponent_of(divisor.value))))
    steps = exact.divide_int(left.value, exact.multiply(divisor.value, finer))
    return Quantity(exact.multiply(steps, finer), left.format)


def approximate(amount: Quantity) -> float:
    """The amount as `AsApproximateFloat64` gives it: digits and power of ten, each rounded, then multiplied."""
    sign, digits, _ = amount.value.as_tuple()
    exponent = _exponent_of(amount.value)
    try:
        base = float(int("".join(map(str, digits))))
    except OverflowError:
        base = math.inf
    if exponent:
        base *= 0.0 if exponent < -_LARGEST_POWER else math.inf if exponent > _LARGEST_POWER else float(f"1e{exponent}")
    return -base if sign else base


def _exactly(*amounts: decimal.Decimal) -> decimal.Context:
    """A context in which sums, products and quotients of the amounts lose no digit."""
    reach = sum(len(amount.as_tuple().digits) + abs(_exponent_of(amount)) for amount in amounts) + 20
    if reach > _MOST_DIGITS:
        raise ValueError("the quantity is too large to compute with")
    return decimal.Context(prec=reach, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)


def _exponent_of(amount: decimal.Decimal) -> int:
    return int(amount.as_tuple().exponent)


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
    return Quantity(value if scale >= _NANO and length <= _EXACT_DIGITS else _in_nano(value), shape)


_find_cached = functools.lru_cache(maxsize=4096)(_find)


def _exponent(suffix: str) -> int | None:
    parts = _EXPONENT.fullmatch(suffix)
    if parts is None or len(parts[1]) > 20 or not -(1 << 63) <= (given := int(parts[1])) < 1 << 63:
        return None
    return (given + (1 << 31)) % (1 << 32) - (1 << 31)  # Go cuts it to 32 bits


def _binary(digits: str, places: int, power: int) -> Quantity:
    exact = decimal.Context(prec=len(digits) + 20, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)
    value = exact.multiply(decimal.Decimal(f"{digits}E-{places}"), decimal.Decimal(1 << power))
    if places or len(digits.lstrip("-")) > 14 - power * 3 // 10:
        value = _in_nano(value)
    if abs(value) > _INT64_MAX:
        value = decimal.Decimal(_INT64_MAX).copy_sign(value)
    return Quantity(value, Format.DECIMAL_SI if 0 < abs(value) < 1 else Format.BINARY_SI)


def _in_nano(value: decimal.Decimal) -> decimal.Decimal:
    """Hold what does not fit into 64 bits in billionths, as Go does.

    What is finer than a billionth is rounded away from zero: who asks for a little gets a little. Amounts with more
    digits than can be computed with stay as they are.
    """
    exponent = _exponent_of(value)
    if not value or exponent > _MOST_DIGITS:
        return value
    prec = len(value.as_tuple().digits) + max(exponent, 0) + 10
    context = decimal.Context(prec=prec, rounding=decimal.ROUND_UP, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)
    return context.quantize(value, _NANO_UNIT)


def _canonical(value: decimal.Decimal, shape: Format) -> str:
    """No fraction, the largest suffix that needs none, exponents in steps of three (or 1024)."""
    if not value:
        return "0"
    sign, digits, _ = value.as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    amount = int(significant := text.rstrip("0"))
    exponent = _exponent_of(value) + len(text) - len(significant)
    if shape is Format.BINARY_SI and exponent >= 0 and abs(value) >= _KIBI:
        amount *= 10**exponent
        steps = 0
        while amount % _KIBI == 0:
            amount //= _KIBI
            steps += 1
        suffix = _BINARY_LETTERS[steps] if steps < len(_BINARY_LETTERS) else ""
    else:
        target = exponent // 3 * 3
        amount *= 10 ** (exponent - target)
        suffix = _suffix(target, shape)
    return f"{'-' if sign else ''}{amount}{suffix}"


def _suffix(exponent: int, shape: Format) -> str:
    if shape is Format.DECIMAL_EXPONENT:
        return f"e{exponent}" if exponent else ""
    return _DECIMAL_LETTERS.get(exponent, "")
