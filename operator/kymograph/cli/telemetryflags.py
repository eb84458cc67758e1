"""Kyverno's flags about traces, metrics and logs, for `kymograph run`: the defaults under the TracingConfiguration.

They are spelled and take values as in Kyverno: booleans may stand alone, and an empty value (its chart renders
`--tracingPort=`) says nothing. What concerns only how Kyverno makes the certificate of `/metrics` is in `kyvernoflags`.
"""

import argparse
import re

from kymograph.cli import flagvalues
from kymograph.telemetry import defaults

COLLECTOR = "opentelemetrycollector.kyverno.svc.cluster.local"
"""Where Kyverno pushes metrics to unless told otherwise."""

TRACES_PORT = 4317
METRICS_PORT = 8000

DEBUG_FROM = 4
"""The verbosity from which on Kyverno logs what we call debug."""

_SECRET = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


def declare(parser: argparse.ArgumentParser) -> None:
    """Declare the flags, as a group of their own."""
    group = parser.add_argument_group("Kyverno's flags, as defaults under the TracingConfiguration")
    flag = group.add_argument
    _boolean(group, "--enableTracing", "export traces, and sample everything that nobody sampled")
    flag("--tracingAddress", type=_host, default="", metavar="HOST", help="the host that traces are sent to")
    flag("--tracingPort", type=_port, metavar="PORT", help=f"its port (default: {TRACES_PORT})")
    flag("--tracingCreds", type=_secret, default="", metavar="SECRET", help="the Secret of its CA (default: plaintext)")
    _boolean(group, "--disableMetrics", "neither serve nor push metrics")
    flag(
        "--otelConfig",
        choices=("prometheus", "grpc"),
        default="prometheus",
        help="serve metrics, or push them over OTLP (default: %(default)s)",
    )
    flag(
        "--otelCollector",
        type=_host,
        default=COLLECTOR,
        metavar="HOST",
        help="the host that metrics are pushed to (default: %(default)s)",
    )
    flag(
        "--metricsPort",
        type=_port,
        metavar="PORT",
        help=f"the port that metrics are served on, or of the collector (default: {METRICS_PORT})",
    )
    flag("--metricsHost", default="", metavar="ADDRESS", help="the address that metrics are served on (default: all)")
    flag(
        "--transportCreds",
        type=_secret,
        default="",
        metavar="SECRET",
        help="the Secret of the collector's CA (default: plaintext)",
    )
    flag(
        "--exemplarFilter",
        choices=("always-off", "trace-based", "always-on"),
        help="whether metrics have exemplars: they lead to traces that are kept, always (default: trace-based)",
    )
    flag(
        "--metricsTLSSecretName",
        type=_secret,
        default="",
        metavar="SECRET",
        help="the Secret of the certificate that metrics are served with (default: plain HTTP)",
    )
    parser.add_argument(
        "--telemetry-output",
        default="",
        metavar="DIRECTORY",
        help="write what would be sent over OTLP as JSON into files there, or with - to standard output; to look at it",
    )
    flag("--v", type=_verbosity, metavar="NUMBER", help=f"log debug records too, from {DEBUG_FROM} on")


def read(options: argparse.Namespace) -> defaults.Defaults:
    """The defaults that parsed flags make."""
    pushed = not options.disableMetrics and options.otelConfig == "grpc"
    port = options.metricsPort or METRICS_PORT
    return defaults.Defaults(
        traced=options.enableTracing,
        traces=defaults.ExporterDefaults(_traces_endpoint(options), options.tracingCreds),
        prometheus=not options.disableMetrics and not pushed,
        prometheus_port=METRICS_PORT if pushed else port,
        prometheus_tls=options.metricsTLSSecretName,
        pushed=pushed,
        metrics=defaults.ExporterDefaults(f"{options.otelCollector}:{port}", options.transportCreds)
        if pushed
        else defaults.ExporterDefaults(),
        exemplars=None if options.exemplarFilter is None else options.exemplarFilter != "always-off",
        output=options.telemetry_output,
    )


def log_level(options: argparse.Namespace, default: str) -> str:
    """The level that `--v` means; the default where it was not given."""
    return default if options.v is None else "debug" if options.v >= DEBUG_FROM else "info"


def _traces_endpoint(options: argparse.Namespace) -> str:
    if not options.tracingAddress and options.tracingPort is None:
        return ""
    return f"{options.tracingAddress or 'localhost'}:{options.tracingPort or TRACES_PORT}"


def _boolean(group: "argparse._ArgumentGroup", name: str, meaning: str) -> None:
    group.add_argument(
        name,
        nargs="?",
        type=flagvalues.boolean,
        const=True,
        default=False,
        metavar="true|false",
        help=f"{meaning} (default: no)",
    )


def _host(text: str) -> str:
    """A host as it stands in `host:port`: IPv6 addresses in brackets."""
    bare = text.removeprefix("[").removesuffix("]")
    if re.fullmatch(r"[0-9A-Fa-f]*(:[0-9A-Fa-f.]*){2,}", bare):
        return f"[{bare}]"
    if bare and not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", bare):
        raise argparse.ArgumentTypeError(f"{text}: must be a host, without scheme and port")
    return bare


def _port(text: str) -> int | None:
    if not text:
        return None
    port = int(text) if text.isascii() and text.isdecimal() else 0
    if not 0 < port < 65536:
        raise argparse.ArgumentTypeError(f"{text}: a port is a number from 1 to 65535")
    return port


def _secret(text: str) -> str:
    if text and not _SECRET.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text}: must be the name of a Secret")
    return text


def _verbosity(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text}: must be a number, not negative")
    return int(text)
