"""What a scrape says, put together."""

from kymograph.telemetry import providers


def text(telemetry: providers.Telemetry, accept: str = "") -> str:
    """The whole text of a scrape."""
    return b"".join(telemetry.prometheus.scrape(accept).pieces).decode()
