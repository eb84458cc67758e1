"""The fields of a TracingConfiguration that say how one signal is exported, the same wherever something is."""

from kymograph.model import crd

PROTOCOLS = ("grpc", "http/protobuf")
COMPRESSIONS = ("none", "gzip")

SECRET_LABEL = "kymograph.dev/telemetry"  # noqa: S105 - the name of a label
"""The label, with the value `true`, of Secrets in the operator's namespace that exporters may use."""

_ENDPOINT = r"^(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?):[0-9]{1,5}$"
_OBJECT_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
_HEADER_NAME = r"^[a-z0-9]([a-z0-9_.-]*[a-z0-9])?$"
_RESERVED_HEADERS = r"^(grpc-.*|.*-bin|host|te|connection|transfer-encoding|content-(type|length|encoding))$"


def secret_name() -> crd.Schema:
    """The field that names a Secret which exporters may use."""
    return crd.text(
        f"A Secret in the operator's namespace, labelled {SECRET_LABEL}=true.", minLength=1, pattern=_OBJECT_NAME
    )


def _secret_key(description: str) -> crd.Schema:
    return crd.record(
        description,
        {"name": secret_name(), "key": crd.text("The entry of the Secret.", minLength=1)},
        required=["name", "key"],
    )


def fields(endpoint: str) -> dict[str, crd.Schema]:
    """The fields that say how one signal is exported; `endpoint` describes its endpoint.

    What uses them has `RULES` among its validations.
    """
    return {
        "endpoint": crd.text(
            endpoint,
            max_length=260,
            **{
                "x-kubernetes-validations": [
                    crd.form(
                        _ENDPOINT,
                        "must be host:port without scheme and path, such as collector.observability:4317;"
                        " insecure says whether TLS is spoken, protocol whether HTTP",
                    )
                ]
            },
        ),
        "protocol": {
            "type": "string",
            "enum": list(PROTOCOLS),
            "description": "How OTLP is spoken: grpc (the default), or http/protobuf, to /v1/traces, /v1/metrics"
            " or /v1/logs.",
        },
        "compression": {
            "type": "string",
            "enum": list(COMPRESSIONS),
            "description": "How exports are compressed: none or gzip; by default gzip, to a loopback endpoint none.",
        },
        "timeout": crd.text(
            "How long one export may take with all its tries, from 100ms to 10m. Default: 10s.",
            max_length=16,
            **{
                "x-kubernetes-validations": [
                    crd.rule(
                        "duration(self) >= duration('100ms') && duration(self) <= duration('10m')",
                        "must be a duration between 100ms and 10m such as 10s",
                    )
                ]
            },
        ),
        "insecure": {
            "type": "boolean",
            "description": "Send in plaintext. Without it TLS with the system's roots is used, except to loopback.",
        },
        "tls": crd.record(
            "What TLS is done with; empty: the system's roots, to loopback too.",
            {
                "caSecretRef": _secret_key("PEM of the authorities that are trusted, and no others."),
                "clientCertificateSecretRef": crd.record(
                    "The certificate shown to the receiver: entries tls.crt and tls.key.",
                    {"name": secret_name()},
                    required=["name"],
                ),
                "serverName": crd.text(
                    "The name the receiver's certificate must have. Default: the endpoint's host.",
                    minLength=1,
                    pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$",
                ),
            },
        ),
        "headers": crd.listing(
            "Headers sent with every export, such as an authorization.",
            crd.record(
                "One header: its value is either here or in a Secret.",
                {
                    "name": crd.text(
                        "Its name, in lower case.",
                        minLength=1,
                        max_length=128,
                        **{
                            "x-kubernetes-validations": [
                                crd.form(
                                    _HEADER_NAME, "must be the name of a header in lower case, such as authorization"
                                )
                            ]
                        },
                    ),
                    "value": crd.text("Its value, for all to read.", minLength=1, max_length=4096),
                    "valueFrom": crd.record(
                        "Where its value is.",
                        {"secretKeyRef": _secret_key("The Secret that holds the value.")},
                        required=["secretKeyRef"],
                    ),
                },
                required=["name"],
                **{
                    "x-kubernetes-validations": [
                        crd.rule(
                            "has(self.value) != has(self.valueFrom)", "either value or valueFrom must be set, not both"
                        ),
                        crd.rule(
                            f"!self.name.matches(r'{_RESERVED_HEADERS}')", "this header is set by the transport itself"
                        ),
                    ]
                },
            ),
            max_items=16,
            **{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    }


RULES = (
    crd.rule(
        "!(has(self.insecure) && self.insecure && has(self.tls))",
        "insecure and tls exclude each other: plaintext, or TLS as described",
    ),
)
