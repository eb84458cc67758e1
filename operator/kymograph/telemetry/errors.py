"""Errors of the telemetry room, by who has to react.

TelemetryError
  x SettingsInvalid      the author of the TracingConfiguration: carries the field path
    x SecretMissing      the same: a Secret it names, or an entry of it, is not there
    x SecretNotAllowed   the same: a Secret it names is not one that may leave the cluster
  x ExporterInvalid      the author of the TracingConfiguration: an exporter cannot be made from these settings
  x ExportFailed         nobody: an exporter gave a batch up; it is counted and shown as a condition
  x InstrumentInvalid    a programmer: an instrument is declared twice or bound with the wrong labels
"""


class TelemetryError(Exception):
    """The root of what the telemetry room raises."""


class SettingsInvalid(TelemetryError):
    """A field of the TracingConfiguration has a value that cannot be used.

    Attributes:
        path: The field, from the spec's root: `traces.endpoint`.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path


class SecretMissing(SettingsInvalid):
    """A Secret that the configuration names, or an entry of it, is not there."""


class SecretNotAllowed(SettingsInvalid):
    """A Secret that the configuration names is not labelled for telemetry, or is the operator's own."""


class ExporterInvalid(TelemetryError):
    """An exporter cannot be made from the settings; what was in force before stays in force."""


class ExportFailed(TelemetryError):
    """An exporter gave spans up, for the reason in the text.

    Attributes:
        rejected: How many spans of the batch were not taken; None for all of them.
    """

    def __init__(self, reason: str, rejected: int | None = None) -> None:
        super().__init__(reason)
        self.rejected = rejected


class InstrumentInvalid(TelemetryError):
    """An instrument is declared twice, or bound to values that do not match its labels."""
