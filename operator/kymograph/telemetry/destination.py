"""Where an exporter sends and how it proves who it is.

A configuration names Secrets; whoever may read Secrets reads them; here both become a `Destination`, checked as a
whole, so that an exporter made from one fails on the wire or not at all. Values from Secrets are in a `Destination` and
nowhere else: no representation, message or error of this module contains one.
"""

import dataclasses
import enum
import ipaddress
import pathlib
import re
import types
from collections.abc import Mapping
from typing import Any

from kymograph.apimachinery import duration
from kymograph.telemetry import defaults as startup
from kymograph.telemetry import environment, errors, trust

TIMEOUT = 10.0
"""Seconds that delivering one batch may take with all its tries, where nobody says anything."""

LEAST_TIMEOUT = 0.1
MOST_TIMEOUT = 600.0

COMPRESSIONS = ("none", "gzip")

Secrets = Mapping[str, Mapping[str, bytes]]
"""The data of the Secrets that a configuration names, by name."""

NO_SECRETS: Secrets = types.MappingProxyType({})

_HEADER_NAME = re.compile(r"[a-z0-9]([a-z0-9_.-]{0,126}[a-z0-9])?")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]{1,16384}")
_RESERVED = re.compile(r"grpc-.*|.*-bin|host|te|connection|transfer-encoding|content-(type|length|encoding)")
_SHORTEST_REDACTED = 4


class Protocol(enum.StrEnum):
    """How OTLP is spoken."""

    GRPC = "grpc"
    HTTP = "http/protobuf"

    @property
    def default_endpoint(self) -> str:
        """The collector's port on this machine, as in OpenTelemetry's specification."""
        return "localhost:4317" if self is Protocol.GRPC else "localhost:4318"


class Signal(enum.StrEnum):
    """What is exported; the value is the path under which OTLP/HTTP receives it."""

    TRACES = "/v1/traces"
    METRICS = "/v1/metrics"
    LOGS = "/v1/logs"


@dataclasses.dataclass(frozen=True, slots=True)
class SecretKey:
    """One entry of a Secret in the operator's namespace."""

    name: str
    key: str


@dataclasses.dataclass(frozen=True, slots=True)
class TLS:
    """What TLS is done with.

    Attributes:
        ca: PEM of the authorities the receiver's certificate may come from; None for those of the system.
        client_certificate: The Secret (`tls.crt`, `tls.key`) we show to the receiver.
        server_name: The name the receiver's certificate must have; empty for the endpoint's host.
    """

    ca: SecretKey | None = None
    client_certificate: str | None = None
    server_name: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Header:
    """A header on every export: its value is either here or in a Secret."""

    name: str
    value: str = dataclasses.field(default="", repr=False)
    secret: SecretKey | None = None


STANDARD_OUTPUT = "-"
"""The `output` that is no directory."""


@dataclasses.dataclass(frozen=True, slots=True)
class ExporterSettings:
    """Where one signal goes, with Secrets by name.

    Attributes:
        endpoint: `host:port` of an OTLP receiver.
        insecure: Plaintext instead of TLS.
        protocol: How OTLP is spoken.
        tls: What TLS is done with; None for the system's roots.
        headers: Sent with every export.
        path: The path exports are posted to, with OTLP/HTTP.
        timeout: Seconds that one batch may take.
        gzip: Compress exports.
        files: What TLS is done with, where environment variables say so and not `tls`.
        output: Where exports are written to instead of being sent; see `otlpfile`.
    """

    endpoint: str = Protocol.GRPC.default_endpoint
    insecure: bool = False
    protocol: Protocol = Protocol.GRPC
    tls: TLS | None = None
    headers: tuple[Header, ...] = ()
    path: str = Signal.TRACES.value
    timeout: float = TIMEOUT
    gzip: bool = False
    files: environment.TLSFiles = environment.NO_FILES
    output: str = ""

    @property
    def plaintext(self) -> bool:
        """Whether the connection is without TLS: asked for, or implied by a loopback endpoint."""
        return self.insecure or (self.tls is None and is_loopback(host_of(self.endpoint)))

    @property
    def secrets(self) -> frozenset[str]:
        """The names of the Secrets that are needed."""
        names = {header.secret.name for header in self.headers if header.secret is not None}
        if self.tls is not None:
            names.update({self.tls.ca.name} if self.tls.ca is not None else ())
            names.update({self.tls.client_certificate} if self.tls.client_certificate is not None else ())
        return frozenset(names)


@dataclasses.dataclass(frozen=True, slots=True)
class Destination:
    """Where one signal goes, ready to be connected to. Equal ones can share an exporter.

    Attributes:
        endpoint: `host:port`.
        protocol: How OTLP is spoken.
        plaintext: Without TLS.
        path: The path exports are posted to, with OTLP/HTTP.
        timeout: Seconds that one batch may take.
        gzip: Compress exports.
        server_name: The name the receiver's certificate must have.
        headers: Names, in lower case, and values.
        ca: PEM of the authorities that are trusted; None for those of the system.
        certificate: PEM of our certificate, or None.
        key: PEM of its key, or None.
        output: Where exports are written to instead of being sent.
    """

    endpoint: str
    protocol: Protocol = Protocol.GRPC
    plaintext: bool = False
    path: str = Signal.TRACES.value
    timeout: float = TIMEOUT
    gzip: bool = False
    server_name: str = ""
    headers: tuple[tuple[str, str], ...] = dataclasses.field(default=(), repr=False)
    ca: bytes | None = dataclasses.field(default=None, repr=False)
    certificate: bytes | None = dataclasses.field(default=None, repr=False)
    key: bytes | None = dataclasses.field(default=None, repr=False)
    output: str = ""

    @property
    def host(self) -> str:
        """The endpoint's host, without brackets."""
        return host_of(self.endpoint)

    @property
    def port(self) -> int:
        """The endpoint's port."""
        return int(self.endpoint.rpartition(":")[2])

    def redacted(self, text: str) -> str:
        """Take out of a receiver's words what we told it in headers: its complaint is shown in the status."""
        said = {word for _, value in self.headers for word in (value, *value.split())}
        for word in sorted(said, key=len, reverse=True):
            if len(word) >= _SHORTEST_REDACTED:
                text = text.replace(word, "[redacted]")
        return text


def resolve(wanted: ExporterSettings, secrets: Secrets, path: str = "traces") -> Destination:
    """Put what the Secrets hold in the place of their names.

    Args:
        wanted: The settings.
        secrets: The Secrets' data; those that `wanted.secrets` names.
        path: The field of the configuration that the settings are from, for errors.

    Raises:
        SecretMissing: A Secret, or the entry of it that is named, is not there.
        SettingsInvalid: An entry cannot be what it is named for.
    """
    tls = wanted.tls or TLS()
    ca = certificate = key = None
    if tls.ca is not None:
        ca = _entry(secrets, tls.ca, f"{path}.tls.caSecretRef")
    if (name := tls.client_certificate) is not None:
        where = f"{path}.tls.clientCertificateSecretRef"
        certificate, key = (_entry(secrets, SecretKey(name, entry), where) for entry in ("tls.crt", "tls.key"))
    if not wanted.plaintext:
        files = wanted.files
        ca, certificate, key = ca or _read(files.ca), certificate or _read(files.certificate), key or _read(files.key)
        trust.check(ca, certificate, key, f"{path}.tls")
    return Destination(
        endpoint=wanted.endpoint,
        protocol=wanted.protocol,
        plaintext=wanted.plaintext,
        path=wanted.path,
        timeout=wanted.timeout,
        gzip=wanted.gzip,
        server_name=tls.server_name,
        headers=tuple((header.name, _header_value(header, secrets, f"{path}.headers")) for header in wanted.headers),
        ca=ca,
        certificate=certificate,
        key=key,
        output=wanted.output,
    )


def from_spec(
    spec: Mapping[str, Any],
    path: str,
    signal: Signal,
    environ: Mapping[str, str] = types.MappingProxyType({}),
    flags: startup.ExporterDefaults = startup.NONE.traces,
) -> dict[str, Any]:
    """Read the fields that exporters of all signals have.

    Headers of the environment are for the endpoint of the environment: they are not sent to one that the resource
    names, or whoever may edit the resource could have them sent anywhere.

    Where nobody says whether to compress, what leaves the machine is: every receiver of OTLP understands gzip
    (specification of OTLP, "Protocol Details").

    Args:
        spec: The part of a TracingConfiguration's spec that describes the exporter.
        path: That part's own path in the spec, for errors.
        signal: What is exported.
        environ: Environment variables: `OTEL_EXPORTER_OTLP_*` are the defaults of what the spec does not say.
        flags: What the process was started with; it stands before the environment.

    Returns:
        The keyword arguments of `ExporterSettings`.

    Raises:
        SettingsInvalid: A field, or a variable of the environment, has a value that cannot be used.
    """
    defaults = flags.over(environment.exporter_defaults(environ, signal.name))
    protocol = spec.get("protocol") or defaults.protocol or Protocol.GRPC
    if protocol not in tuple(Protocol):
        raise errors.SettingsInvalid(f"{path}.protocol", f"{protocol!r} is none of {', '.join(Protocol)}")
    read: dict[str, Any] = {
        "protocol": Protocol(protocol),
        "path": signal.value,
        "timeout": _timeout(spec.get("timeout"), defaults.timeout, f"{path}.timeout"),
        "gzip": _gzip(spec.get("compression"), f"{path}.compression", default=defaults.gzip),
        "insecure": bool(spec.get("insecure", False)),
        "tls": None if spec.get("tls") is None else _tls(spec["tls"], f"{path}.tls"),
        "headers": tuple(_header(each, f"{path}.headers[{at}]") for at, each in enumerate(spec.get("headers") or ())),
        "endpoint": spec.get("endpoint", Protocol(protocol).default_endpoint),
    }
    if "endpoint" not in spec and defaults.endpoint is not None:
        read["endpoint"] = defaults.endpoint
        read["path"] = defaults.path if defaults.path is not None else signal.value
        if read["tls"] is None:
            read["insecure"] = read["insecure"] or defaults.insecure
            ca = SecretKey(defaults.ca_secret, startup.CA_ENTRY) if defaults.ca_secret else None
            read["tls"] = None if read["insecure"] else TLS(ca)
            read["files"] = environment.NO_FILES if read["insecure"] else defaults.files
        named = {header.name for header in read["headers"]}
        read["headers"] += tuple(Header(name, value) for name, value in defaults.headers if name not in named)
    if not isinstance(read["endpoint"], str) or not _is_host_and_port(read["endpoint"]):
        raise errors.SettingsInvalid(f"{path}.endpoint", f"{read['endpoint']!r} is not host:port")
    if read["insecure"] and read["tls"] is not None:
        raise errors.SettingsInvalid(f"{path}.insecure", "plaintext and tls exclude each other")
    if read["gzip"] is None:  # a tenth of the bytes, which cost more than compressing them where there is a network
        read["gzip"] = not is_loopback(host_of(read["endpoint"]))
    names = [header.name for header in read["headers"]]
    if len(names) != len(set(names)):
        raise errors.SettingsInvalid(f"{path}.headers", "a header is named twice")
    return read


def host_of(endpoint: str) -> str:
    """The host of `host:port`, without brackets."""
    return endpoint.rpartition(":")[0].removeprefix("[").removesuffix("]")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _timeout(text: Any, default: float | None, path: str) -> float:
    if text is None:
        return TIMEOUT if default is None else default
    try:
        seconds = duration.parse(str(text)) / duration.SECOND
    except ValueError as error:
        raise errors.SettingsInvalid(path, str(error)) from error
    if not LEAST_TIMEOUT <= seconds <= MOST_TIMEOUT:
        raise errors.SettingsInvalid(path, f"{text} is not between 100ms and 10m")
    return seconds


def _gzip(compression: Any, path: str, *, default: bool | None) -> bool | None:
    if compression is None:
        return default
    if compression not in COMPRESSIONS:
        raise errors.SettingsInvalid(path, f"{compression!r} is none of {', '.join(COMPRESSIONS)}")
    return bool(compression == "gzip")


def _read(file: environment.File | None) -> bytes | None:
    if file is None:
        return None
    try:
        return pathlib.Path(file.path).read_bytes()
    except OSError as error:
        raise errors.SettingsInvalid(file.variable, f"{file.path}: {error.strerror or error}") from error


def _tls(spec: Mapping[str, Any], path: str) -> TLS:
    ca, client = spec.get("caSecretRef"), spec.get("clientCertificateSecretRef")
    return TLS(
        ca=None if ca is None else _secret_key(ca, f"{path}.caSecretRef"),
        client_certificate=None if client is None else _name(client, f"{path}.clientCertificateSecretRef"),
        server_name=str(spec.get("serverName") or ""),
    )


def _header(spec: Mapping[str, Any], path: str) -> Header:
    name, value = spec.get("name"), spec.get("value")
    if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
        raise errors.SettingsInvalid(f"{path}.name", f"{name!r} is no header's name in lower case")
    if _RESERVED.fullmatch(name):
        raise errors.SettingsInvalid(f"{path}.name", f"{name!r} is the transport's own")
    reference = (spec.get("valueFrom") or {}).get("secretKeyRef")
    if (value is None) == (reference is None):
        raise errors.SettingsInvalid(path, "either value or valueFrom.secretKeyRef must be set")
    if reference is not None:
        return Header(name, secret=_secret_key(reference, f"{path}.valueFrom.secretKeyRef"))
    return Header(name, str(value))


def _secret_key(spec: Mapping[str, Any], path: str) -> SecretKey:
    key = spec.get("key")
    if not isinstance(key, str) or not key:
        raise errors.SettingsInvalid(f"{path}.key", "must be set")
    return SecretKey(_name(spec, path), key)


def _name(spec: Mapping[str, Any], path: str) -> str:
    name = spec.get("name")
    if not isinstance(name, str) or not name:
        raise errors.SettingsInvalid(f"{path}.name", "must be set")
    return name


def _entry(secrets: Secrets, wanted: SecretKey, path: str) -> bytes:
    found = secrets.get(wanted.name, {}).get(wanted.key)
    if not found:
        raise errors.SecretMissing(path, f"there is no {wanted.key!r} in Secret {wanted.name!r}")
    return found


def _header_value(header: Header, secrets: Secrets, path: str) -> str:
    value, where = header.value, f"{path}[{header.name}]"
    if header.secret is not None:
        value = _entry(secrets, header.secret, where).decode("latin-1")
    value = value.strip()  # a Secret made from a file ends with its last line's end
    if not _HEADER_VALUE.fullmatch(value):
        raise errors.SettingsInvalid(where, "the value is not what a header can hold: printable ASCII on one line")
    return value


def _is_host_and_port(endpoint: str) -> bool:
    host, _, port = endpoint.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    bare = bool(host) and not any(character in host for character in ":/@ []")
    return (bracketed or bare) and port.isascii() and port.isdigit() and 0 < int(port) < 65536
