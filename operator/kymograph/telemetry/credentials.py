"""Tokens in texts: taken out of whatever is told to others, whoever wrote them there.

A policy may quote a header or an annotation that holds one, and a library an answer or a URL. What is known by its form
alone is taken out: the credentials of an Authorization header (RFC 9110, 11.4); JSON Web Tokens (RFC 7519), such as
those of service accounts; and of URLs the user (RFC 3986, 3.2.1), and parameters that are named like a secret.
"""

import re

REDACTED = "[redacted]"

_TOKEN = re.compile(
    r"\b(?P<scheme>(?i:bearer|basic))\s+(?=[\w.~+/-]*\d|[\w.~+/-]{16})[\w.~+/-]{8,}=*"
    r"|\beyJ[\w-]{8,}\.[\w-]{4,}\.[\w-]*"
)


_USER = re.compile(r"(?<=://)[^/?#\s@\"'<>]+@(?!sha\d+:)")
_PARAMETER = re.compile(
    r"([?&][\w.-]*(?:token|secret|passw(?:or)?d|pwd|sig|signature|key|keyid|credential|auth|authorization|session)=)"
    r"[^&#\s\"'<>]+",
    re.IGNORECASE,
)
_QUERY = re.compile(r"(\w://[^?#\s\"'<>]*)\?[^#\s\"'<>]*")


def redacted(text: str) -> str:
    """A text without tokens. Of a text without the signs of one no more than those is looked for."""
    lowered = text.lower()  # schemes are (RFC 9110, 11.1)
    if "eyJ" in text or "bearer" in lowered or "basic" in lowered:
        text = _TOKEN.sub(_replacement, text)
    if "://" in text and "@" in text:
        text = _USER.sub(f"{REDACTED}@", text)
    return _PARAMETER.sub(rf"\1{REDACTED}", text) if "?" in text else text


def without_queries(text: str) -> str:
    """A text whose URLs have no query: what a call failed with may quote all of what was called."""
    return _QUERY.sub(r"\1", text) if "?" in text else text


def _replacement(found: re.Match[str]) -> str:
    scheme = found["scheme"]
    return f"{scheme} {REDACTED}" if scheme else REDACTED
