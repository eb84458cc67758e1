"""`kymograph tracing render`: the files that make kube-apiserver and kubelet trace to where the operator does.

Exit status: 0; 1 if they cannot, or the TracingConfiguration cannot be read; 2 if the command line is wrong.
"""

import argparse
import pathlib
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from kymograph.cli.offline import errors
from kymograph.cli.telemetry import components, resource
from kymograph.telemetry import errors as telemetry_errors
from kymograph.telemetry import settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    commands = parser.add_subparsers(dest="tracing_command", required=True, metavar="render", help="what to do")
    summary = "print configuration files of Kubernetes' components that fit the TracingConfiguration"
    render = commands.add_parser("render", help=summary, description=summary.capitalize() + ".")
    render.add_argument(
        "--for", dest="component", choices=components.COMPONENTS, required=True, help="whose configuration"
    )
    source = render.add_mutually_exclusive_group()
    source.add_argument("--file", metavar="FILE", help="the TracingConfiguration, - for standard input")
    source.add_argument(
        "--kubeconfig", type=pathlib.Path, metavar="FILE", help="the cluster whose TracingConfiguration is meant"
    )
    render.add_argument("--endpoint", metavar="HOST:PORT", help="send there instead: OTLP over gRPC, in plaintext")
    render.add_argument(
        "--sampling-rate-per-million", type=int, metavar="NUMBER", help="of requests without a sampling parent"
    )
    render.add_argument(
        "--directory",
        default="/etc/kubernetes/kymograph",
        help="where the files will be on the API server's node (default: %(default)s)",
    )
    render.add_argument("--client-certificate", metavar="PATH", help="there, what the API server shows to webhooks")
    render.add_argument("--client-key", metavar="PATH", help="there, the key of that certificate")
    render.add_argument("--write", type=pathlib.Path, metavar="FOLDER", help="write the files, print nothing")


def run(options: argparse.Namespace) -> int:
    """Render; returns the exit status."""
    try:
        files = _files(options, _tracing(options))
    except (errors.OfflineError, telemetry_errors.TelemetryError, components.Unfit) as error:
        sys.stderr.write(f"kymograph: {error}\n")
        return 1
    if options.write is None:
        sys.stdout.write("---\n".join(map(_text, files)))
        return 0
    options.write.mkdir(parents=True, exist_ok=True)
    for file in files:
        (options.write / file.name).write_text(_text(file))
    return 0


def _tracing(options: argparse.Namespace) -> components.Tracing:
    spec = resource.spec_of_file(options.file) if options.file else resource.spec_of_cluster(options.kubeconfig)
    asked: Mapping[str, Any] = {
        "endpoint": options.endpoint,
        "samplingRatePerMillion": options.sampling_rate_per_million,
    }
    traces = spec.get("traces")
    if traces is None and options.endpoint is None:
        raise components.Unfit("spec.traces is not set, the operator exports no traces: say where to with --endpoint")
    traces = dict(traces or {})
    if options.endpoint is not None:
        traces = {"samplingRatePerMillion": traces.get("samplingRatePerMillion", 0), "insecure": True}
    wanted = settings.from_spec({"traces": {**traces, **{k: v for k, v in asked.items() if v is not None}}}).traces
    if wanted is None:
        raise AssertionError("settings of traces that are there")
    tracing = components.fitting(wanted)
    if tracing.caution:
        sys.stderr.write(f"note: {tracing.caution}\n")
    if tracing.sampling_rate_per_million == 0:
        sys.stderr.write("note: at rate 0 only requests are traced whose caller may and does ask for it\n")
    return tracing


def _files(options: argparse.Namespace, tracing: components.Tracing) -> Iterable[components.File]:
    client = (options.client_certificate, options.client_key)
    if any(client) and (not all(client) or options.component != "kube-apiserver"):
        raise components.Unfit("--client-certificate and --client-key go together, and are kube-apiserver's")
    if options.component == "kubelet":
        return components.kubelet(tracing)
    return components.kube_apiserver(tracing, options.directory.rstrip("/"), client if all(client) else None)


def _text(file: components.File) -> str:
    notes = f"# {file.name}: " + "".join(f"{note}\n# " for note in file.notes).removesuffix("# ")
    return notes + str(yaml.safe_dump(file.content, sort_keys=False))
