"""`kymograph crds`: the CustomResourceDefinitions, from the one source that the operator itself reads."""

import argparse
import pathlib
import sys

import yaml

from kymograph.model import kinds

HEADER = "# Written by `kymograph crds --write crds`. Edit operator/kymograph/model instead.\n"


class _Plain(yaml.SafeDumper):
    """Writes shared parts of a schema in full: an anchor is YAML that reviewers of CRDs do not expect."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  # the library's signature
        return True


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "--write", type=pathlib.Path, metavar="DIRECTORY", help="write one file per kind, and a kustomization"
    )


def run(options: argparse.Namespace) -> int:
    """Print or write; returns the exit status."""
    files = render()
    if options.write is None:
        sys.stdout.write("---\n".join(text for name, text in files.items() if name != "kustomization.yaml"))
        return 0
    options.write.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (options.write / name).write_text(text)
    return 0


def render() -> dict[str, str]:
    """The files of `crds/`, by name."""
    files = {
        f"{kind.name}.yaml": HEADER + yaml.dump(kind.document(), Dumper=_Plain, sort_keys=False, width=110)
        for kind in kinds.SHIPPED
    }
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": sorted(files),
    }
    return {**files, "kustomization.yaml": HEADER + yaml.safe_dump(kustomization, sort_keys=False)}
