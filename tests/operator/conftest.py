"""The operator, installed once for all tests of this folder by its own manifests, under the shipped role."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kymograph.localcluster import cluster as localcluster
from kymograph.localcluster import installation
from kymograph.objecttrace.sources import otlp as otlp_source
from support import installed as support
from support import replicas
from support.service import Service


@pytest.fixture(scope="session")
def installed(cluster, otlp) -> Iterator[support.Installed]:
    """The operator as a user has it, sending every trace to the OTLP receiver."""
    support.install(cluster)
    made = support.Installed(cluster, installation.Operator(cluster))
    made.configure(_usual(otlp))
    with made.operator:
        yield made


@pytest.fixture(scope="module")
def pair() -> Iterator[replicas.Pair]:
    """A control plane of the file's own with two replicas, both of which refuse privileged Pods."""
    with localcluster.LocalCluster() as cluster, Service().serving() as service:
        support.install(cluster)
        with replicas.Pair(cluster, service).running() as made:
            made.protect()
            yield made


@pytest.fixture
def enforce(installed) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Have policies enforced for the length of the test."""
    yield installed.enforce
    installed.forget_policies()


@pytest.fixture
def usual_configuration(installed, otlp) -> Iterator[None]:
    """For tests that configure telemetry: they leave it as they found it, in force again when the next one begins."""
    yield
    installed.put_in_force(_usual(otlp))


def _usual(otlp: otlp_source.Receiver) -> dict[str, Any]:
    """All traces to the receiver."""
    return {"traces": {"endpoint": otlp.endpoint, "samplingRatePerMillion": 1_000_000}}
