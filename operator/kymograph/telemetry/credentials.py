"""Tokens in texts: taken out of whatever is told to others, whoever wrote them there.

A policy may quote a header or an annotation that holds one, and a library an answer. What is known by its form alone is
taken out: the credentials of an Authorization header (RFC 9110, 11.4) and JSON Web Tokens (RFC 7519), which is what
tokens of service accounts are.
"""

import re

REDACTED = "[redacted]"

_TOKEN = re.compile(
    r"\b(?P<scheme>Bearer|Basic|bearer|basic)\s+(?=[\w.~+/-]*\d|[\w.~+/-]{16})[\w.~+/-]{8,}=*"
    r"|\beyJ[\w-]{8,}\.[\w-]{4,}\.[\w-]*"
)


def redacted(text: str) -> str:
    """A text without tokens. Of a text without the signs of one no more than those is looked for."""
    if "eyJ" in text or "earer" in text or "asic" in text:
        return _TOKEN.sub(_replacement, text)
    return text


def _replacement(found: re.Match[str]) -> str:
    scheme = found["scheme"]
    return f"{scheme} {REDACTED}" if scheme else REDACTED
