"""What OpenTelemetry's standard environment variables say about exporters: the defaults under a TracingConfiguration.

Source: https://opentelemetry.io/docs/specs/otel/protocol/exporter/. Read: the sampler, and of exporters endpoint,
headers, protocol, timeout and compression, each also in the form for one signal (`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`),
which stands above the one for all. A timeout is in milliseconds, as the specification has it and OpenTelemetry's own
Python exporters do not. Files of certificates are not read: certificates come from Secrets, which are followed when
they change.
"""

import dataclasses
import urllib.parse
from collections.abc import Mapping

from kymograph.telemetry import errors

_PORTS = {"http": 80, "https": 443}
_SAMPLER = "OTEL_TRACES_SAMPLER"


@dataclasses.dataclass(frozen=True, slots=True)
class ExporterDefaults:
    """The defaults of one signal's exporter; None where the environment says nothing.

    Attributes:
        endpoint: `host:port`.
        insecure: The endpoint's scheme is `http`.
        path: The path of OTLP/HTTP exports.
        headers: Names, in lower case, and values.
        protocol: As written.
        timeout: Seconds.
        gzip: Compress exports.
        ca_secret: The Secret that holds the endpoint's authorities; no variable says it, flags do.
    """

    endpoint: str | None = None
    insecure: bool = False
    path: str | None = None
    headers: tuple[tuple[str, str], ...] = dataclasses.field(default=(), repr=False)
    protocol: str | None = None
    timeout: float | None = None
    gzip: bool = False
    ca_secret: str = ""


def exporter_defaults(environ: Mapping[str, str], signal: str) -> ExporterDefaults:
    """Read the variables.

    Args:
        environ: Environment variables.
        signal: `TRACES` or `METRICS`.

    Raises:
        SettingsInvalid: A variable has a value that cannot be used; the error's path is its name.
    """

    def read(what: str) -> tuple[str, str]:
        own, common = f"OTEL_EXPORTER_OTLP_{signal}_{what}", f"OTEL_EXPORTER_OTLP_{what}"
        name = own if environ.get(own) else common
        return name, environ.get(name, "").strip()

    compression, protocol = read("COMPRESSION"), read("PROTOCOL")
    if compression[1] not in {"", "none", "gzip"}:
        raise errors.SettingsInvalid(compression[0], f"{compression[1]!r} is neither gzip nor none")
    endpoint, insecure, path = _endpoint(*read("ENDPOINT"), signal)
    return ExporterDefaults(
        endpoint=endpoint,
        insecure=insecure,
        path=path,
        headers=_headers(read("HEADERS")[1]),
        protocol=protocol[1] or None,
        timeout=_seconds(*read("TIMEOUT")),
        gzip=compression[1] == "gzip",
    )


def sampling_rate_per_million(environ: Mapping[str, str]) -> int | None:
    """The rate of `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`; None where they say nothing.

    What becomes of a caller's decision is for `traces.parent` to say: `parentbased_` makes no difference.

    Raises:
        SettingsInvalid: A variable has a value that cannot be used.
    """
    sampler = environ.get(_SAMPLER, "").strip()
    if not sampler:
        return None
    root = sampler.removeprefix("parentbased_")
    if root in {"always_on", "always_off"}:
        return 1_000_000 if root == "always_on" else 0
    if root != "traceidratio":
        raise errors.SettingsInvalid(_SAMPLER, f"{sampler!r} is none of always_on, always_off and traceidratio")
    argument = environ.get(f"{_SAMPLER}_ARG", "").strip() or "1"
    try:
        ratio = float(argument)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise errors.SettingsInvalid(f"{_SAMPLER}_ARG", f"{argument!r} is not between 0 and 1")
    return round(ratio * 1_000_000)


def _endpoint(name: str, url: str, signal: str) -> tuple[str | None, bool, str | None]:
    """Take a URL apart: host and port, plaintext or not, path. One signal's URL is complete, the common one a base."""
    if not url:
        return None, False, None
    parts = urllib.parse.urlsplit(url)
    try:
        port = (parts.port or _PORTS[parts.scheme]) if parts.scheme in _PORTS else 0
    except ValueError:
        port = 0
    if not port or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise errors.SettingsInvalid(name, "is not the URL of an http(s) endpoint")  # it may hold a password
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    own = name == f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"
    path = parts.path or "/" if own else f"{parts.path.rstrip('/')}/v1/{signal.lower()}"
    return f"{host}:{port}", parts.scheme == "http", path


def _headers(listed: str) -> tuple[tuple[str, str], ...]:
    """Read `name=value,name=value`, percent-encoded; members without `=` are skipped, as OpenTelemetry's SDKs do."""
    pairs = (member.partition("=") for member in listed.split(",") if "=" in member)
    found = {urllib.parse.unquote(key).strip().lower(): urllib.parse.unquote(value).strip() for key, _, value in pairs}
    return tuple((key, value) for key, value in found.items() if key)


def _seconds(name: str, milliseconds: str) -> float | None:
    if not milliseconds:
        return None
    if not (milliseconds.isascii() and milliseconds.isdigit() and 0 < int(milliseconds) <= 600_000):
        raise errors.SettingsInvalid(name, f"{milliseconds!r} is no number of milliseconds up to 600000")
    return int(milliseconds) / 1_000
