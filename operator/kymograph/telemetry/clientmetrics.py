"""What calls to other processes count, whoever makes them: told by the one place that also makes their spans.

Which process is called is known by the attributes of the span: those of Kubernetes' clients are no other's.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from kymograph.telemetry import semconv
from kymograph.telemetry.instruments import Instruments, labels

if TYPE_CHECKING:
    from opentelemetry.util.types import AnyValue

TOO_MANY_REQUESTS = 429

DISCOVERY = "Discovery"
"""What Kyverno has for the kind of calls that are about no resource: what is served, and in which version."""

_KYVERNO = ".kyverno.io"
_KUBERNETES = ".k8s.io"
_BUILT_IN = frozenset(("", "apps", "autoscaling", "batch", "policy"))


class ClientMetrics:
    """Counts calls.

    Args:
        instruments: The instruments of the process.
    """

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments

    def called(self, attributes: "Mapping[str, AnyValue]", result: "Mapping[str, AnyValue]", seconds: float) -> None:
        """A call has ended.

        Args:
            attributes: Those of its span at the beginning.
            result: Those that were added: its status code, or else the kind of its error.
            seconds: How long it took.
        """
        status = str(result.get(semconv.HTTP_RESPONSE_STATUS_CODE) or result.get(semconv.ERROR_TYPE) or "")
        operation = attributes.get(semconv.KUBE_CLIENT_OPERATION)
        if operation is None:
            self._called_out(attributes, status, seconds)
            return
        made = self._instruments
        group, kind, namespace = (
            str(attributes[key])
            for key in (semconv.KUBE_CLIENT_GROUP, semconv.KUBE_CLIENT_KIND, semconv.KUBE_CLIENT_NAMESPACE)
        )
        kind = kind or DISCOVERY
        call = labels.KubernetesCall(str(operation), group, kind, status)
        made.kubernetes_requests.bind(call).add()
        made.kubernetes_requests_duration.bind(call).record(seconds)
        made.client_queries.bind(labels.Query(str(operation), _client(group), kind, namespace)).add()
        if status == str(TOO_MANY_REQUESTS):
            made.kubernetes_throttled.bind((str(operation), kind)).add()

    def _called_out(self, attributes: "Mapping[str, AnyValue]", status: str, seconds: float) -> None:
        made = self._instruments
        histogram = made.registry_requests if semconv.REGISTRY_REPOSITORY in attributes else made.service_requests
        method, host = attributes.get(semconv.HTTP_REQUEST_METHOD), attributes.get(semconv.SERVER_ADDRESS)
        histogram.bind(labels.HTTPCall(str(method or ""), str(host or ""), status)).record(seconds)


def _client(group: str) -> str:
    """Kyverno's `client_type` for an API group."""
    if group in _BUILT_IN or group.endswith(_KUBERNETES):
        return "kubeclient"
    return "kyverno" if f".{group}".endswith(_KYVERNO) else "dynamic"
