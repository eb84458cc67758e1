"""What a local cluster can be asked for. The default is a cluster as a cloud would give it, audited in full."""

import dataclasses
import pathlib
from typing import Literal


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tracing:
    """Where the API server sends its own spans.

    Attributes:
        endpoint: `host:port` of an OTLP/gRPC receiver. The API server speaks plaintext to it and sends no headers.
        sampling_rate_per_million: Of requests that bring no sampled parent; 1,000,000 is all of them.
    """

    endpoint: str
    sampling_rate_per_million: int = 1_000_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AuditWebhook:
    """Where the API server sends its audit events, beside the audit log.

    It shows the webhook client certificate (see `cluster.LocalCluster.webhook_client_ca_pem`) there too.

    Attributes:
        url: An https URL.
        ca_pem: The authority that the server's certificate is checked against.
    """

    url: str
    ca_pem: bytes


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """A local cluster's settings.

    Attributes:
        tracing: None starts the API server without tracing.
        audit_level: The level of audit events of writes: `RequestResponse` has both bodies, `Metadata` none. Reads
            are always at `Metadata`, leases and health checks are left out: a full body of every list would slow
            the cluster for nobody's benefit.
        audit_log: Where the audit log is written; None puts `audit.log` in the cluster's directory, which goes with
            the cluster.
        audit_webhook: None sends audit events nowhere but to the log.
        apiserver_flags: Further flags of kube-apiserver (`--feature-gates=...`); a later flag wins over an earlier.
    """

    tracing: Tracing | None = None
    audit_level: Literal["Metadata", "RequestResponse"] = "RequestResponse"
    audit_log: pathlib.Path | None = None
    audit_webhook: AuditWebhook | None = None
    apiserver_flags: tuple[str, ...] = ()
