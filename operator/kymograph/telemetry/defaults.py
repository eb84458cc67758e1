"""What the process was started with that stands under the TracingConfiguration: what the resource leaves open.

Flags come before OpenTelemetry's environment variables, as code does in its SDKs; the resource comes before both.
Where an exporter sends to and what TLS it speaks belong together: flags say nothing about an endpoint that the resource
names.
"""

import dataclasses

from kymograph.telemetry import environment

CA_ENTRY = "ca.pem"
"""The entry of a Secret that holds the authorities, as Kyverno has it."""


@dataclasses.dataclass(frozen=True, slots=True)
class ExporterDefaults:
    """Where one signal goes.

    Attributes:
        endpoint: `host:port`; empty where the flags say nothing.
        ca_secret: The Secret whose entry `CA_ENTRY` is the only authority; empty for plaintext.
    """

    endpoint: str = ""
    ca_secret: str = ""

    def over(self, variables: environment.ExporterDefaults) -> environment.ExporterDefaults:
        """Put these before what the environment says. Its headers stay: both were written by whoever starts us."""
        if not self.endpoint:
            return variables
        return dataclasses.replace(
            variables,
            endpoint=self.endpoint,
            insecure=not self.ca_secret,
            path=None,
            ca_secret=self.ca_secret,
            files=environment.NO_FILES,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Defaults:
    """The defaults of a TracingConfiguration's fields.

    Attributes:
        traced: `traces` is there, and samples everything.
        traces: Where traces go.
        prometheus: `metrics.prometheus.enabled`.
        prometheus_port: `metrics.prometheus.port`.
        prometheus_tls: `metrics.prometheus.tls.certificateSecretRef.name`; empty for plain HTTP.
        pushed: `metrics.otlp` is there.
        metrics: Where metrics are pushed.
        exemplars: Whether metrics have exemplars; None where the flags say nothing.
        output: A directory, or `-` for standard output, that is written to instead of sending to anybody.
    """

    traced: bool = False
    traces: ExporterDefaults = ExporterDefaults()
    prometheus: bool = True
    prometheus_port: int = 8000
    prometheus_tls: str = ""
    pushed: bool = False
    metrics: ExporterDefaults = ExporterDefaults()
    exemplars: bool | None = None
    output: str = ""


NONE = Defaults()
"""Nothing was said: the shipped defaults."""
