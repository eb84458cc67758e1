"""Kyverno's functions of encodings, documents and digests.

Text that is decoded is UTF-8: each byte that is none becomes U+FFFD, which is what Go makes of it when the value leaves
the expression. A document is paid for before it is built; YAML is paid for by what its aliases unfold to.
"""

import base64
import binascii
from typing import Any

import orjson

from kymograph.engine import errors, values
from kymograph.engine.budget import Budget
from kymograph.engine.jmespath import syntax
from kymograph.engine.jmespath.functions import ANY, OBJECT, STRING, register

_NO_LINES = str.maketrans("", "", "\r\n")
_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
_VALUES_A_BYTE = 30  # bytes of memory that a byte of JSON may become: `{"":[]}` over and over


@register("base64_decode", STRING, returns=STRING, note="the text that base64 stands for")
def _base64_decode(budget: Budget, text: str) -> str:
    budget.spend(1 + len(text) // 16)
    budget.allocate(len(text))
    plain = text.translate(_NO_LINES)
    try:
        if len(plain) % 4 == 0:
            return as_text(base64.b64decode(plain, validate=True))
    except (binascii.Error, ValueError):  # the latter where a character is not ASCII
        pass
    budget.spend(len(text) // 4)
    raise errors.EvaluationError(f"illegal base64 data at input byte {_where_corrupt(text)}")


@register("base64_encode", STRING, returns=STRING, note="a text in base64")
def _base64_encode(budget: Budget, text: str) -> str:
    budget.allocate(len(text) * 4)
    return base64.b64encode(as_bytes(text)).decode("ascii")


@register("parse_json", STRING, returns=ANY, note="the value that a text writes in JSON")
def _parse_json(budget: Budget, text: str) -> values.JSON:
    budget.spend(1 + len(text) // 16)
    budget.allocate(len(text) * _VALUES_A_BYTE)
    try:
        return orjson.loads(as_bytes(text))
    except orjson.JSONDecodeError:
        budget.spend(len(text) // 2)
        raise errors.EvaluationError(syntax.complaint(text)) from None


@register("parse_yaml", STRING, returns=ANY, note="the value that a text writes in YAML, as Kubernetes reads it")
def _parse_yaml(budget: Budget, text: str) -> values.JSON:
    from kymograph.apimachinery import yamls  # noqa: PLC0415 - PyYAML is slow to start, and few policies need it

    budget.spend(1 + len(text))
    budget.allocate(len(text) * _VALUES_A_BYTE)
    try:
        for line, document in yamls.documents(text.removeprefix("\ufeff"), "yaml"):
            found = yamls.Reader().values(document, "yaml", line)
            return found[0] if found else None
    except yamls.YAMLInvalid as problem:
        raise errors.EvaluationError(f"yaml: line {problem.line}: {problem.reason}") from None
    return None


@register("x509_decode", STRING, returns=OBJECT, note="what an RSA certificate or certificate request in PEM says")
def _x509_decode(budget: Budget, text: str) -> dict[str, Any]:
    from kymograph.engine.jmespath import certificates  # noqa: PLC0415 - few policies look into certificates

    return certificates.decode(text, budget)


@register("sha256", STRING, returns=STRING, note="the SHA-256 digest of a text, in hexadecimal")
def _sha256(budget: Budget, text: str) -> str:
    budget.spend(1 + len(text) // 256)
    import hashlib  # noqa: PLC0415 - slow to import, and few policies digest

    return hashlib.sha256(as_bytes(text)).hexdigest()


@register(
    "sha1", STRING, returns=STRING, note="the SHA-1 digest of a text, in hexadecimal; no protection against forgery"
)
def _sha1(budget: Budget, text: str) -> str:
    budget.spend(1 + len(text) // 256)
    import hashlib  # noqa: PLC0415 - as above

    return hashlib.sha1(as_bytes(text), usedforsecurity=False).hexdigest()


@register("md5", STRING, returns=STRING, note="the MD5 digest of a text, in hexadecimal; no protection against forgery")
def _md5(budget: Budget, text: str) -> str:
    budget.spend(1 + len(text) // 256)
    import hashlib  # noqa: PLC0415 - as above

    return hashlib.md5(as_bytes(text), usedforsecurity=False).hexdigest()


def as_bytes(text: str) -> bytes:
    """UTF-8; half of a surrogate pair, which a literal may hold, becomes U+FFFD."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def as_text(data: bytes) -> str:
    """UTF-8 as text, with U+FFFD for each byte that is none."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        escaped = data.decode("utf-8", "surrogateescape")
        return "".join(["\ufffd" if "\ud800" <= one <= "\udfff" else one for one in escaped])


def _where_corrupt(text: str) -> int:
    """The byte at which Go's decoder stops."""
    data, position, quantum = text.encode("utf-8", "surrogatepass"), 0, 0
    while position < len(data):
        character = chr(data[position])
        position += 1
        if character in "\r\n":
            continue
        if character in _ALPHABET:
            quantum = (quantum + 1) % 4
            continue
        if character != "=" or quantum < 2:
            return position - 1
        position = _after_lines(data, position)
        if quantum == 2:
            if position == len(data):
                return position
            if data[position : position + 1] != b"=":
                return position - 1
            position = _after_lines(data, position + 1)
        return position
    return position - quantum


def _after_lines(data: bytes, position: int) -> int:
    while position < len(data) and data[position] in b"\r\n":
        position += 1
    return position
