"""The state of this replica: which version it is, what API servers are told, and until when they trust it."""

from kymograph.telemetry import cells

INFO = cells.Description(
    name="info",
    description="Kyverno version information",
    unit="",
    labels=("version",),
    kyverno=True,
)

CONFIGURED = cells.Description(
    name="webhook_configured",
    description="Whether API servers are told to ask about all policies that are held: 1 or 0, at the replica that"
    " leads.",
    unit="",
    labels=(),
)

CERTIFICATE = cells.Description(
    name="certificate_expiration_timestamp_seconds",
    description="When a certificate expires that is presented or announced, in seconds since the epoch.",
    unit="s",
    labels=("certificate",),
)
