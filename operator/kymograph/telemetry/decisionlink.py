"""`traces.decisionLink`: the URL under which a trace can be looked at, for whoever was refused.

The template is a URI template of level 1 (RFC 6570): names in braces, and nothing but what this process knows of a
trace may be named. The rest is taken as it is written; no URL is ever opened here.
"""

import dataclasses
import re
import urllib.parse

from kymograph.telemetry import errors

TRACE_ID, SPAN_ID = "trace_id", "span_id"
"""What a template may name: the trace, and the span of the review in it, both in lower-case hexadecimal."""

_EXPRESSION = re.compile(r"\{([^{}]*)\}")
_FORBIDDEN = re.compile(r"[\s{}\"<>\\^`|\x00-\x1f\x7f]")
_SCHEMES = ("https", "http")


@dataclasses.dataclass(frozen=True, slots=True)
class Template:
    """A URL with the trace's id left open.

    Attributes:
        text: As it was written, found to be right by `parse`.
    """

    text: str

    def of(self, trace_id: int, span_id: int) -> str:
        """The URL of one trace, of 128 bits, and of a span in it, of 64 bits."""
        return self.text.replace("{trace_id}", f"{trace_id:032x}").replace("{span_id}", f"{span_id:016x}")


def parse(text: str, path: str) -> Template:
    """Read a template.

    Args:
        text: Such as `https://jaeger.example/trace/{trace_id}`.
        path: Where it stands in the resource.

    Raises:
        SettingsInvalid: It is no absolute URL of `https` or `http` with a host, carries credentials, names something
            else, or does not name the trace.
    """
    named = _EXPRESSION.findall(text)
    for name in named:
        if name not in (TRACE_ID, SPAN_ID):
            raise errors.SettingsInvalid(path, f"{{{name}}} is none of {{{TRACE_ID}}} and {{{SPAN_ID}}}")
    if TRACE_ID not in named:
        raise errors.SettingsInvalid(path, f"{text!r} does not say where {{{TRACE_ID}}} goes")
    plain = _EXPRESSION.sub("0", text)
    if _FORBIDDEN.search(plain):
        raise errors.SettingsInvalid(path, f"{text!r} has a character that must be percent-encoded in a URL")
    try:
        parts = urllib.parse.urlsplit(plain)
        host, user = parts.hostname, parts.username
    except ValueError as error:
        raise errors.SettingsInvalid(path, f"{text!r} is no URL: {error}") from error
    if parts.scheme not in _SCHEMES or not host:
        raise errors.SettingsInvalid(path, f"{text!r} is no URL of {' or '.join(_SCHEMES)}")
    if user is not None:
        raise errors.SettingsInvalid(path, f"{text!r} holds credentials, and is shown to everybody who is refused")
    return Template(text)
