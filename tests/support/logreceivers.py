"""A receiver of OTLP log records on loopback."""

from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc

from support import otlpservice, waiting


class Receiver(otlpservice.Receiver):
    """Takes log records, and says which came."""

    request = logs_service_pb2.ExportLogsServiceRequest
    response = logs_service_pb2.ExportLogsServiceResponse
    register = logs_service_pb2_grpc.add_LogsServiceServicer_to_server
    rejected = "rejected_log_records"

    @property
    def records(self) -> list:
        """The records, each with the name of its scope."""
        return [
            (of_scope.scope.name, record)
            for request in list(self.requests)
            for of_resource in request.resource_logs
            for of_scope in of_resource.scope_logs
            for record in of_scope.log_records
        ]

    @property
    def bodies(self) -> list[str]:
        return [record.body.string_value for _, record in self.records]

    @property
    def resource(self) -> dict[str, str]:
        described = self.requests[-1].resource_logs[0].resource.attributes
        return {attribute.key: attribute.value.string_value for attribute in described}

    def wait_for(self, body: str):
        """The record with this body, and its scope, once it has come."""
        return waiting.until(
            f"{body!r} at the receiver",
            lambda: next((found for found in self.records if found[1].body.string_value == body), None),
        )
