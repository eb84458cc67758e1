"""The operator, installed once for all tests of this folder by its own manifests, under the shipped role."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kymograph.localcluster import installation
from support import installed as support


@pytest.fixture(scope="session")
def installed(cluster, otlp) -> Iterator[support.Installed]:
    """The operator as a user has it, sending every trace to the OTLP receiver."""
    support.install(cluster)
    made = support.Installed(cluster, installation.Operator(cluster))
    made.configure({"traces": {"endpoint": otlp.endpoint, "samplingRatePerMillion": 1_000_000}})
    with made.operator:
        yield made


@pytest.fixture
def enforce(installed) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Have policies enforced for the length of the test."""
    yield installed.enforce
    installed.forget_policies()
