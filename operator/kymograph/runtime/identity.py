"""What the process knows of itself, from its environment."""

import random
import socket
from collections.abc import Mapping

from kymograph import __version__
from kymograph.runtime.settings import CONTROLLERS, Settings


def facts(namespace: str, environ: Mapping[str, str]) -> dict[str, str]:
    """What the process knows of itself, as resource attributes of OpenTelemetry."""
    pod = environ.get("POD_NAME") or socket.gethostname()
    found = {
        "service.version": __version__,
        "service.namespace": namespace,
        "service.instance.id": environ.get("POD_UID") or f"{pod}-{random.getrandbits(32):08x}",  # a name
        "k8s.namespace.name": namespace,
        "k8s.pod.name": environ.get("POD_NAME"),
        "k8s.pod.uid": environ.get("POD_UID"),
        "k8s.node.name": environ.get("NODE_NAME"),
        "k8s.deployment.name": environ.get("DEPLOYMENT_NAME"),
        "k8s.cluster.name": environ.get("CLUSTER_NAME"),
    }
    return {key: value for key, value in found.items() if value}


def candidate(settings: Settings, environ: Mapping[str, str]) -> str:
    """Who stands for election. Pods have a name and a uid; other processes of a host differ in their health port."""
    pod, uid = environ.get("POD_NAME"), environ.get("POD_UID")
    return f"{pod}_{uid}" if pod and uid else f"{socket.gethostname()}_{settings.health_port}"


def election(controllers: frozenset[str]) -> str:
    """The Lease of a Deployment, which is known by the first of its controllers: a controller is in one Deployment."""
    first = next(name for name in CONTROLLERS if name in controllers)
    return "kymograph" if first == CONTROLLERS[0] else f"kymograph-{first}"
