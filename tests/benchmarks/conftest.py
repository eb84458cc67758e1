"""What benchmarks share: a control plane that costs little itself, the policies, and a place to print figures.

`KYMOGRAPH_BENCHMARKS=long` makes every measurement long enough to compare two versions by. Without it they take a few
seconds: they then prove that what is measured still works, and give an idea of the figures.
`KYMOGRAPH_BENCHMARK_OBJECTS=10000` says of how many objects, for those that are about objects.
`KYMOGRAPH_KYVERNO=FILE` names Kyverno's command line, for those that can be compared with it in the same run, and
`KYMOGRAPH_KYVERNO_CONTROLLERS=FOLDER` a folder with its controllers (`reports-controller`, `cleanup-controller`) and,
in `crds`, the definitions that they want.
"""

import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from kymograph.localcluster import cluster as localcluster
from kymograph.localcluster import installation
from kymograph.localcluster import options as settings
from support import installed as support


@pytest.fixture(scope="session")
def is_long() -> bool:
    """Whether figures are wanted that can be compared."""
    return os.environ.get("KYMOGRAPH_BENCHMARKS") == "long"


@pytest.fixture(scope="session")
def peer() -> str | None:
    """Kyverno's command line; None where nobody named it."""
    return os.environ.get("KYMOGRAPH_KYVERNO")


@pytest.fixture(scope="session")
def peer_controllers() -> pathlib.Path | None:
    """The folder of Kyverno's controllers; None where nobody named it."""
    folder = os.environ.get("KYMOGRAPH_KYVERNO_CONTROLLERS")
    return None if folder is None else pathlib.Path(folder)


@pytest.fixture(scope="session")
def sized(is_long: bool) -> Callable[[int, int], int]:
    """How many objects there are to be, of (for figures that can be compared, otherwise)."""
    asked = os.environ.get("KYMOGRAPH_BENCHMARK_OBJECTS")
    return lambda many, few: int(asked) if asked else many if is_long else few


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Print a line of figures at the end of the test run."""
    return lambda line: record_property("figure", line)


@pytest.fixture(scope="session")
def pod_security() -> list[dict[str, Any]]:
    """Seventeen policies with nineteen rules that demand what the Pod Security Standard "restricted" does."""
    files = sorted((pathlib.Path(__file__).parent / "policies").glob("*.yaml"))
    return [policy for file in files for policy in yaml.safe_load_all(file.read_text())]


@pytest.fixture(scope="module")
def quiet_cluster(request: pytest.FixtureRequest) -> Iterator[localcluster.LocalCluster]:
    """A control plane of the benchmark's own: no tracing, no bodies in the audit log, nobody else's objects."""
    if request.config.option.kubeconfig is not None:
        pytest.skip("measures the processes of the local control plane: run it without --kubeconfig")
    with localcluster.LocalCluster(settings.Options(audit_level="Metadata")) as running:
        support.install(running)
        yield running


@pytest.fixture(scope="module")
def measured(quiet_cluster: localcluster.LocalCluster) -> support.Installed:
    """The operator, installed by its manifests and under the shipped role, not started."""
    return support.Installed(quiet_cluster, installation.Operator(quiet_cluster))
