"""The pull exposition: what is served at `/metrics`, rendered on demand.

The stock reader translates what the SDK's own instruments recorded and what the process is; cells are written beside
it (`exposition`). Series carry no `otel_scope_*` labels, which Kyverno's dashboards do not know, and scrapes are taken
one at a time, since two at once would each get some of the reader's families twice. It opens no port; the runtime
serves what `render` returns.
"""

import re
import threading
from typing import TYPE_CHECKING

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder

from kymograph.telemetry import exposition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kymograph.telemetry.cells import Cells

_END = b"# EOF\n"


class PullReader(PrometheusMetricReader):
    """The reader of the shared MeterProvider for Prometheus.

    Args:
        cells: What to write beside the SDK's own instruments.
    """

    def __init__(self, cells: "Cells") -> None:
        self._cells = cells
        self._scraping = threading.Lock()
        self._collectors = CollectorRegistry()
        ProcessCollector(registry=self._collectors)
        super().__init__(disable_target_info=True, scope_info_enabled=False, registry=self._collectors)

    def render(self, accept: str) -> tuple[bytes, str]:
        """Collect and write all metrics. Takes milliseconds with thousands of series: call it from a worker thread.

        Args:
            accept: The request's `Accept` header, or an empty string.

        Returns:
            The body and its content type: OpenMetrics if asked for, else Prometheus' text format.
        """
        encode, content_type = choose_encoder(accept)
        openmetrics = content_type.startswith("application/openmetrics-text")
        with self._scraping:
            body = encode(self._collectors)
        cells = exposition.write(self._cells.read(), openmetrics=openmetrics).encode()
        if openmetrics:
            return body.removesuffix(_END) + cells + _END, content_type
        return body + cells, content_type

    def show_resource(self, attributes: "Mapping[str, str]") -> None:
        """Show these resource attributes as the labels of `target_info`."""
        with self._scraping:
            self._collectors.set_target_info({_label(key): value for key, value in attributes.items()})


def _label(key: str) -> str:
    """Make a label's name of an attribute's key, as OpenTelemetry's Prometheus compatibility rules say."""
    return re.sub(r"[^a-zA-Z0-9_]+", "_", key)
