"""Chainsaw cases against the operator on a control plane: our own, and folders of others where they are named.

    KYMOGRAPH_CONFORMANCE=ROOT            every case below ROOT
    KYMOGRAPH_CONFORMANCE=ROOT:a,b/c      those below ROOT/a and ROOT/b/c

`python -m conformance` runs the same and prints a table.
"""

import os
import pathlib

import pytest

from conformance import cases, setting

OWN = pathlib.Path(__file__).with_name("cases")


def named():
    """The cases to run, each with the root that its path is told from."""
    found = [(OWN, path) for path in cases.find(OWN, OWN)]
    root, _, folders = os.environ.get("KYMOGRAPH_CONFORMANCE", "").partition(":")
    if root:
        top = pathlib.Path(root).absolute()
        found += [(top, path) for folder in folders.split(",") for path in cases.find(top, top / folder)]
    return [pytest.param(path, root, id=str(path.parent.relative_to(root))) for root, path in found]


@pytest.fixture(scope="module")
def runner():
    with setting.started(limit=60.0, log=None) as found:
        yield found


@pytest.mark.cluster
@pytest.mark.parametrize(("manifest", "root"), named())
def test_case(runner, manifest, root) -> None:
    """The cluster does what the case says, within the time that it has."""
    result = runner.run(manifest, root)
    assert result.status != "failed", result.reason
