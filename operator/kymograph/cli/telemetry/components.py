"""The configuration of Kubernetes' components that makes their spans and ours one trace.

Sources: apiserver.config.k8s.io/v1 `TracingConfiguration` and `AdmissionConfiguration` (kube-apiserver),
kubelet.config.k8s.io/v1beta1 `KubeletConfiguration.tracing` (kubelet). Both speak OTLP over gRPC, in plaintext and
without headers, and nothing else: an exporter that needs more cannot be theirs, and is refused here by name.
"""

import dataclasses
import ipaddress
from typing import Any

from kymograph.telemetry import destination, settings

COMPONENTS = ("kube-apiserver", "kubelet")

_CONFIG = "apiserver.config.k8s.io/v1"
_TRACING, _ADMISSION, _WEBHOOKS = "tracing.yaml", "admission.yaml", "webhooks.kubeconfig"


class Unfit(ValueError):
    """The components cannot send to where the operator sends to; the text says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Tracing:
    """What both components are told.

    Attributes:
        endpoint: `host:port` of an OTLP/gRPC receiver that speaks plaintext.
        sampling_rate_per_million: Of requests that bring no sampled parent.
    """

    endpoint: str
    sampling_rate_per_million: int

    @property
    def caution(self) -> str:
        """What a component may see otherwise than the operator does; empty where there is nothing."""
        host = destination.host_of(self.endpoint)
        if destination.is_loopback(host):
            return f"{self.endpoint} is on the component's own node: a collector must listen there"
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return f"{host} must resolve on the nodes, which as a rule do not ask the cluster's DNS"
        return ""


@dataclasses.dataclass(frozen=True, slots=True)
class File:
    """A file to be written on a node.

    Attributes:
        name: Its name.
        notes: What it is for and how the component is told of it, for a comment.
        content: The document.
    """

    name: str
    notes: tuple[str, ...]
    content: dict[str, Any]


def fitting(traces: settings.TraceSettings) -> Tracing:
    """What the components have to be told to send where the operator sends.

    Raises:
        Unfit: They cannot send there.
    """
    reasons = []
    if traces.protocol is not destination.Protocol.GRPC:
        reasons.append(f"it is spoken to by {traces.protocol}")
    if not traces.plaintext:
        reasons.append("it is spoken to by TLS")
    if traces.headers:
        reasons.append("it is sent headers")
    if reasons:
        raise Unfit(
            f"{traces.endpoint}: {', '.join(reasons)}; Kubernetes' components export by gRPC in plaintext without"
            " headers: name a collector that takes that with --endpoint"
        )
    return Tracing(traces.endpoint, traces.sampling_rate_per_million)


def kubelet(tracing: Tracing) -> list[File]:
    """The stanza of a kubelet's configuration."""
    content = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "tracing": _fields(tracing),
    }
    notes = ("part of the file that kubelet --config names, or a file *.conf in the folder that --config-dir names",)
    return [File("kubelet.conf", notes, content)]


def kube_apiserver(tracing: Tracing, directory: str, client: tuple[str, str] | None = None) -> list[File]:
    """The configuration files of an API server.

    Args:
        tracing: What it is told.
        directory: Where the files will be on its node.
        client: Paths there, of the certificate that it shows to webhooks and of its key; None where it shows none.
    """
    content = {"apiVersion": _CONFIG, "kind": "TracingConfiguration", **_fields(tracing)}
    files = [File(_TRACING, (f"kube-apiserver --tracing-config-file={directory}/{_TRACING}",), content)]
    if client is None:
        return files
    certificate, key = client
    shown = {
        "apiVersion": _CONFIG,
        "kind": "WebhookAdmissionConfiguration",
        "kubeConfigFile": f"{directory}/{_WEBHOOKS}",
    }
    plugins = ("MutatingAdmissionWebhook", "ValidatingAdmissionWebhook")
    admission = {
        "apiVersion": _CONFIG,
        "kind": "AdmissionConfiguration",
        "plugins": [{"name": plugin, "configuration": dict(shown)} for plugin in plugins],
    }
    user = {"client-certificate": certificate, "client-key": key}
    kubeconfig = {"apiVersion": "v1", "kind": "Config", "users": [{"name": "*", "user": user}]}
    return [
        *files,
        File(_ADMISSION, (f"kube-apiserver --admission-control-config-file={directory}/{_ADMISSION}",), admission),
        File(
            _WEBHOOKS,
            ("named by admission.yaml", "kymograph run --webhook-client-ca=FILE, the CA of this certificate"),
            kubeconfig,
        ),
    ]


def _fields(tracing: Tracing) -> dict[str, Any]:
    return {"endpoint": tracing.endpoint, "samplingRatePerMillion": tracing.sampling_rate_per_million}
