"""How the operator runs for a folder of cases, as Kyverno's own conformance runs install it for that folder.

Every folder gets a control plane of its own. What is not named here has the standard flags.
"""

import pathlib
from collections.abc import Mapping
from typing import NamedTuple

TESTS = pathlib.Path(__file__).parents[1]

STANDARD = ("--exception-namespace=*", "--webhook-names=kyverno", "--config-map=kyverno/kyverno", "--omit-events=")
"""Exceptions in every namespace, no Event omitted, Kyverno's names for webhook configurations and ConfigMap."""


class Folder(NamedTuple):
    """What a folder asks for beside the standard.

    Attributes:
        flags: Further flags of `kymograph run`; a later flag wins over an earlier.
        definitions: Manifests that are applied before the operator starts.
    """

    flags: tuple[str, ...] = ()
    definitions: tuple[pathlib.Path, ...] = ()


FOLDERS: Mapping[str, Folder] = {
    "force-failure-policy-ignore": Folder(("--force-failure-policy-ignore=true",)),
    "openreports": Folder(("--openreports-enabled=true",), (TESTS / "operator" / "definitions" / "openreports.yaml",)),
    "policy-exceptions-disabled": Folder(("--enable-policy-exception=false",)),
    "reports-exclude-result": Folder(("--allowed-results=fail",)),
}
"""By the first part of a case's path."""


def of(name: str) -> Folder:
    """What the cases below a folder ask for."""
    return FOLDERS.get(name, Folder())
