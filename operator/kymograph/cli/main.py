"""The `kymograph` command: one module per subcommand, imported only when it is called."""

import argparse
import gc
import importlib
import sys
from collections.abc import Sequence
from typing import Any

from kymograph import __version__

COMMANDS = {
    "run": "run the operator",
    "demo": "start a control plane on this machine, the operator and a few policies, and show what happens",
    "test": "run the tests that lie beside policies, as `kyverno test` does",
    "apply": "apply policies to objects from files or a cluster, as `kyverno apply` does",
    "jp": "try JMESPath expressions as policies use them, and list their functions",
    "explain": "say what a policy matches, does and needs",
    "doctor": "look for what is wrong with an installation, and say how to mend it",
    "tracing": "render the configuration of kube-apiserver and kubelet that fits the operator's",
    "migrate": "translate what Kyverno is told about telemetry into a TracingConfiguration",
    "cleanup": "say what cleanup policies would delete, and when they run next",
    "reports": "say how far scans are, and what the reports of a cluster say",
    "uninstall": "take the operator's webhooks, Leases and certificate out of a cluster",
    "crds": "print or write the CustomResourceDefinitions",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="kymograph",
        description="Enforces Kyverno's policies in a Kubernetes cluster and draws every decision as a trace.",
    )
    parser.add_argument("--version", action="version", version=f"kymograph {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", prog=parser.prog)
    given = list(sys.argv[1:] if arguments is None else arguments)
    called = given[0] if given and given[0] in COMMANDS else None
    for name in COMMANDS if called is None else (called,):
        command = commands.add_parser(name, help=COMMANDS[name], description=COMMANDS[name].capitalize() + ".")
        if called is not None:
            _module(name).configure(command)
    options = parser.parse_args(given)
    status: int = _module(options.command).run(options)
    return status


def _module(command: str) -> Any:
    """The module of a command. Imports make no garbage, so none is looked for meanwhile."""
    gc.disable()
    try:
        return importlib.import_module(f"kymograph.cli.{command}")
    finally:
        gc.enable()


if __name__ == "__main__":
    sys.exit(main())
