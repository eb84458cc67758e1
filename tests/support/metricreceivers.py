"""A receiver of OTLP metrics on loopback."""

from collections.abc import Mapping

from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.metrics.v1 import metrics_pb2

from support import otlpservice, waiting


class Receiver(otlpservice.Receiver):
    """Takes metrics, and says which came."""

    request = metrics_service_pb2.ExportMetricsServiceRequest
    response = metrics_service_pb2.ExportMetricsServiceResponse
    register = metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server
    rejected = "rejected_data_points"
    words = "too old"

    @property
    def metrics(self) -> list[metrics_pb2.Metric]:
        """All metrics that came, in the order of coming."""
        return [
            metric
            for request in list(self.requests)
            for of_resource in request.resource_metrics
            for of_scope in of_resource.scope_metrics
            for metric in of_scope.metrics
        ]

    @property
    def resources(self) -> list[dict[str, str]]:
        """The attributes of all resources that came."""
        return [
            _labels(of_resource.resource.attributes)
            for request in list(self.requests)
            for of_resource in request.resource_metrics
        ]

    @property
    def scopes(self) -> set[tuple[str, str]]:
        """Name and version of all scopes that came."""
        return {
            (of_scope.scope.name, of_scope.scope.version)
            for request in list(self.requests)
            for of_resource in request.resource_metrics
            for of_scope in of_resource.scope_metrics
        }

    def points(self, name: str, **labels: str) -> list:
        """All points of a metric that came, with these labels among others."""
        return [
            point
            for metric in self.metrics
            if metric.name == name
            for point in getattr(metric, metric.WhichOneof("data")).data_points
            if labels.items() <= _labels(point.attributes).items()
        ]

    def wait_for(self, name: str, until=bool, timeout: float = 60.0, **labels: str) -> list:
        """Wait until the points of a metric satisfy: by default, until there are any."""

        def look() -> list:
            points = self.points(name, **labels)
            return points if until(points) else []

        return waiting.until(f"{name} {labels} at the receiver", look, timeout)


def _labels(attributes) -> Mapping[str, str]:
    return {each.key: each.value.string_value for each in attributes}
