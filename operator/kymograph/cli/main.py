"""The `kymograph` command: one module per subcommand, imported only when it is called."""

import argparse
import importlib
import sys
from collections.abc import Sequence

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
    "crds": "print or write the CustomResourceDefinitions",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="kymograph",
        description="Enforces Kyverno's policies in a Kubernetes cluster and draws every decision as a trace.",
    )
    parser.add_argument("--version", action="version", version=f"kymograph {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    given = list(sys.argv[1:] if arguments is None else arguments)
    wanted = next((argument for argument in given if not argument.startswith("-")), None)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary.capitalize() + ".")
        if name == wanted:
            importlib.import_module(f"kymograph.cli.{name}").configure(command)
    options = parser.parse_args(given)
    status: int = importlib.import_module(f"kymograph.cli.{options.command}").run(options)
    return status


if __name__ == "__main__":
    sys.exit(main())
