"""What OpenTelemetry's standard environment variables say about exporters: the defaults under a TracingConfiguration.

Sources: https://opentelemetry.io/docs/specs/otel/protocol/exporter/ and .../configuration/sdk-environment-variables/.
Read: whether there is telemetry at all, the sampler, the propagators, the bounds of queues, and of exporters endpoint,
headers, protocol, timeout, compression and TLS, each also in the form for one signal
(`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`), which stands above the one for all. A timeout is in milliseconds, as the
specification has it and OpenTelemetry's own Python exporters do not. Nothing is opened here: of files there are names.
"""

import contextlib
import dataclasses
import urllib.parse
from collections.abc import Mapping
from typing import NamedTuple

from kymograph.telemetry import errors

_PORTS = {"http": 80, "https": 443}
_SAMPLER = "OTEL_TRACES_SAMPLER"
_DISABLED = "OTEL_SDK_DISABLED"
_PROPAGATORS = "OTEL_PROPAGATORS"
_EXEMPLARS = "OTEL_METRICS_EXEMPLAR_FILTER"

MOST_QUEUED = 100_000
"""Spans or records that a queue may be told to hold: some 40 MB."""

_MOST_DELAY = 600_000


class File(NamedTuple):
    """A file that a variable names."""

    variable: str
    path: str


@dataclasses.dataclass(frozen=True, slots=True)
class TLSFiles:
    """Files of PEM; None where no variable names one.

    Attributes:
        ca: The authorities that are trusted, and no others.
        certificate: What we show to the receiver.
        key: Its private key.
    """

    ca: File | None = None
    certificate: File | None = None
    key: File | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """Where they are."""
        return tuple(each.path for each in (self.ca, self.certificate, self.key) if each is not None)


NO_FILES = TLSFiles()


@dataclasses.dataclass(frozen=True, slots=True)
class QueueLimits:
    """The bounds of a queue before exporters; None where the environment says nothing.

    Attributes:
        capacity: Spans or log records that wait at most.
        batch: How many of them are in one export.
        linger: Seconds that one waits for others.
    """

    capacity: int | None = None
    batch: int | None = None
    linger: float | None = None


NO_LIMITS = QueueLimits()
"""The environment says nothing."""


@dataclasses.dataclass(frozen=True, slots=True)
class ExporterDefaults:
    """The defaults of one signal's exporter; None where the environment says nothing.

    Attributes:
        endpoint: `host:port`.
        insecure: The endpoint's scheme is `http`.
        path: The path of OTLP/HTTP exports.
        headers: Names, in lower case, and values.
        protocol: `grpc` or `http/protobuf`.
        timeout: Seconds.
        gzip: Compress exports.
        ca_secret: The Secret that holds the endpoint's authorities; no variable says it, flags do.
        files: What TLS to the endpoint is done with, by variables.
    """

    endpoint: str | None = None
    insecure: bool = False
    path: str | None = None
    headers: tuple[tuple[str, str], ...] = dataclasses.field(default=(), repr=False)
    protocol: str | None = None
    timeout: float | None = None
    gzip: bool | None = None
    ca_secret: str = ""
    files: TLSFiles = NO_FILES


def exporter_defaults(environ: Mapping[str, str], signal: str) -> ExporterDefaults:
    """Read the variables.

    Args:
        environ: Environment variables.
        signal: `TRACES`, `METRICS` or `LOGS`.

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
    if protocol[1] not in {"", "grpc", "http/protobuf"}:
        raise errors.SettingsInvalid(protocol[0], f"{protocol[1]!r} is neither grpc nor http/protobuf")
    plaintext = _boolean(*read("INSECURE"))
    endpoint, insecure, path = _endpoint(*read("ENDPOINT"), signal, plaintext=plaintext)
    files = TLSFiles(*(_file(*read(what)) for what in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")))
    if (files.certificate is None) != (files.key is None):
        present, missing = ("CLIENT_CERTIFICATE", "CLIENT_KEY")[:: 1 if files.certificate else -1]
        raise errors.SettingsInvalid(read(present)[0], f"OTEL_EXPORTER_OTLP_{missing} must be set too")
    return ExporterDefaults(
        endpoint=endpoint,
        insecure=insecure,
        path=path,
        headers=_headers(read("HEADERS")[1]),
        protocol=protocol[1] or None,
        timeout=_seconds(*read("TIMEOUT")),
        gzip=compression[1] == "gzip" if compression[1] else None,
        files=files,
    )


def disabled(environ: Mapping[str, str]) -> bool:
    """Whether whoever starts us wants no telemetry exported at all, whatever a resource says.

    Raises:
        SettingsInvalid: The variable is neither `true` nor `false`.
    """
    return _boolean(_DISABLED, environ.get(_DISABLED, "").strip())


def exporters(environ: Mapping[str, str], signal: str) -> frozenset[str]:
    """What `OTEL_TRACES_EXPORTER` and its like say of a signal: `otlp` where they say nothing, or `console` or `none`.

    Args:
        environ: Environment variables.
        signal: `TRACES`, `METRICS` or `LOGS`.

    Raises:
        SettingsInvalid: There is no such exporter. `prometheus`, of metrics, is one that is not pushed to.
    """
    name = f"OTEL_{signal}_EXPORTER"
    known = {"otlp", "console", "none", *(("prometheus",) if signal == "METRICS" else ())}
    named = frozenset(each.strip() for each in environ.get(name, "").split(",")) - {""}
    if not named <= known or named >= {"otlp", "console"}:
        written = environ.get(name, "").strip()
        raise errors.SettingsInvalid(name, f"{written!r} is not one of {', '.join(sorted(known))}")
    return named or frozenset({"otlp"})


def propagators(environ: Mapping[str, str]) -> tuple[str, ...] | None:
    """The names in `OTEL_PROPAGATORS`, as written, without repetitions; None where it says nothing."""
    listed = [each.strip() for each in environ.get(_PROPAGATORS, "").split(",") if each.strip()]
    return tuple(dict.fromkeys(listed)) or None


def exemplars(environ: Mapping[str, str]) -> bool:
    """Whether metrics have exemplars, by `OTEL_METRICS_EXEMPLAR_FILTER`; they do where it says nothing.

    An exemplar is of use where its trace can be looked at, so that `always_on` does no more than `trace_based`.

    Raises:
        SettingsInvalid: The variable is none of the three filters there are.
    """
    written = environ.get(_EXEMPLARS, "").strip()
    if written not in {"", "always_on", "always_off", "trace_based"}:
        raise errors.SettingsInvalid(_EXEMPLARS, f"{written!r} is none of always_on, always_off and trace_based")
    return written != "always_off"


def queue_limits(environ: Mapping[str, str], processor: str) -> QueueLimits:
    """Read the variables of a batching processor.

    Args:
        environ: Environment variables.
        processor: `BSP`, of spans, or `BLRP`, of log records.

    Raises:
        SettingsInvalid: A variable has a value that cannot be used.
    """

    def number(what: str, most: int) -> int | None:
        name = f"OTEL_{processor}_{what}"
        written = environ.get(name, "").strip()
        if not written:
            return None
        if not (written.isascii() and written.isdigit() and 0 < int(written) <= most):
            raise errors.SettingsInvalid(name, f"{written!r} is no number from 1 to {most}")
        return int(written)

    delay = number("SCHEDULE_DELAY", _MOST_DELAY)
    return QueueLimits(
        capacity=number("MAX_QUEUE_SIZE", MOST_QUEUED),
        batch=number("MAX_EXPORT_BATCH_SIZE", MOST_QUEUED),
        linger=None if delay is None else delay / 1_000,
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


def _endpoint(name: str, url: str, signal: str, *, plaintext: bool) -> tuple[str | None, bool, str | None]:
    """Take a URL apart: host and port, plaintext or not, path. One signal's URL is complete, the common one a base.

    What has no scheme is plaintext if `OTEL_EXPORTER_OTLP_INSECURE` says so; a scheme says it itself.
    """
    if not url:
        return None, False, None
    schemed = "://" in url
    parts, port = urllib.parse.SplitResult("", "", "", "", ""), 0
    with contextlib.suppress(ValueError):
        parts = urllib.parse.urlsplit(url if schemed else f"{'http' if plaintext else 'https'}://{url}")
        port = (parts.port or (_PORTS[parts.scheme] if schemed else 0)) if parts.scheme in _PORTS else 0
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


def _file(name: str, path: str) -> File | None:
    return File(name, path) if path else None


def _boolean(name: str, written: str) -> bool:
    if written.lower() not in {"", "true", "false"}:
        raise errors.SettingsInvalid(name, f"{written!r} is neither true nor false")
    return written.lower() == "true"


def _seconds(name: str, milliseconds: str) -> float | None:
    if not milliseconds:
        return None
    if not (milliseconds.isascii() and milliseconds.isdigit() and 0 < int(milliseconds) <= 600_000):
        raise errors.SettingsInvalid(name, f"{milliseconds!r} is no number of milliseconds up to 600000")
    return int(milliseconds) / 1_000
