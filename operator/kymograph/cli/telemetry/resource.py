"""The TracingConfiguration that a command is about: of a file, or of the cluster."""

import asyncio
import os
import pathlib
import time
from collections.abc import Mapping
from typing import Any

from opentelemetry.trace import NoOpTracer

from kymograph.cli import sources
from kymograph.cli.offline import errors
from kymograph.cli.telemetry import schema
from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import connection, resources
from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.model import tracingconfiguration as model
from kymograph.runtime import connecting
from kymograph.runtime import errors as runtime_errors
from kymograph.telemetry import current


def spec_of_file(argument: str) -> Mapping[str, Any]:
    """The `spec` of the TracingConfiguration in a file, or in standard input (`-`).

    Raises:
        InputInvalid: The file cannot be read, or holds none or several, or one that the API server would refuse.
    """
    found = [
        document
        for document in sources.documents(argument)
        if isinstance(document.value, dict)
        and document.value.get("kind") == model.KIND
        and str(document.value.get("apiVersion")).startswith(f"{model.GROUP}/")
    ]
    if len(found) != 1:
        reason = f"there are {len(found)} TracingConfigurations of {model.GROUP} in it, and not one"
        raise errors.InputInvalid((errors.InputProblem(argument, 0, "", reason),))
    (document,) = found
    spec = document.value.get("spec")
    wanted = model.TRACING_CONFIGURATION.versions[0].schema["properties"]["spec"]
    wrong = [document.problem(*each) for each in schema.problems({} if spec is None else spec, wanted, "spec")]
    if wrong:
        raise errors.InputInvalid(tuple(wrong))
    return spec or {}


def spec_of_cluster(kubeconfig: pathlib.Path | None) -> Mapping[str, Any]:
    """The `spec` of the cluster's TracingConfiguration.

    Args:
        kubeconfig: Which cluster; None for the default.

    Raises:
        InputInvalid: The cluster cannot be asked, or has none.
    """
    try:
        document = asyncio.run(_read(connecting.connect(kubeconfig, os.environ)))
    except (kubernetes_errors.KubernetesError, runtime_errors.RuntimeFailure) as error:
        raise errors.InputInvalid((errors.InputProblem("cluster", 0, "", str(error)),)) from error
    spec: Mapping[str, Any] = document.get("spec") or {}
    return spec


async def _read(to: connection.Connection) -> dict[str, Any]:
    client = clients.KubernetesClient(to, current.ClientSpans(NoOpTracer(), time.monotonic_ns))
    try:
        return await client.get(resources.TRACING_CONFIGURATIONS, model.NAME)
    finally:
        await client.close()
