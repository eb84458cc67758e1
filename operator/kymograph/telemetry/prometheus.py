"""The pull exposition: what is served at `/metrics`, written on demand and in pieces.

The stock reader translates what the SDK's own instruments recorded and what the process is, some dozens of series;
cells are written beside it (`exposition`). Series carry no `otel_scope_*` labels, which Kyverno's dashboards do not
know, and of the reader's part only one scrape at a time is taken, since two at once would each get some of its families
twice. It opens no port, waits for nobody and keeps nothing between two pieces; the runtime serves what it writes.
"""

import re
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder

from kymograph.telemetry import exposition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kymograph.telemetry.cells import Cells

_END = b"# EOF\n"

_QUICKLY = 1
"""How hard it is compressed: the text repeats itself so much that more effort gains little."""

_GZIP = 16 + 14
"""In the format of RFC 1952, with a window of 16 KiB: some dozens of lines, which are those that are alike."""

_BOOKS = 7
"""What zlib keeps books with, a step below its default; with that window it holds 128 KiB."""


class Scrape(NamedTuple):
    """One scrape.

    Attributes:
        content_type: OpenMetrics if asked for, else Prometheus' text format.
        pieces: The body. Each takes about half a millisecond and is made when it is asked for, by one at a time, from a
            worker thread, the same or another; it says what is then. A compressed one may be empty.
    """

    content_type: str
    pieces: Iterator[bytes]


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

    def scrape(self, accept: str = "", *, compressed: bool = False) -> Scrape:
        """Begin to write all metrics.

        Args:
            accept: The request's `Accept` header, or an empty string.
            compressed: With gzip.
        """
        encode, content_type = choose_encoder(accept)
        pieces = self._pieces(encode, openmetrics=content_type.startswith("application/openmetrics-text"))
        return Scrape(content_type, _compressed(pieces) if compressed else pieces)

    def show_resource(self, attributes: "Mapping[str, str]") -> None:
        """Show these resource attributes as the labels of `target_info`."""
        with self._scraping:
            self._collectors.set_target_info(_labels(attributes))

    def _pieces(self, encode: Callable[[CollectorRegistry], bytes], *, openmetrics: bool) -> Iterator[bytes]:
        with self._scraping:
            theirs = encode(self._collectors)
        yield theirs.removesuffix(_END) if openmetrics else theirs
        for piece in exposition.write(self._cells.stream(), openmetrics=openmetrics):
            yield piece.encode()
        if openmetrics:
            yield _END


def _compressed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Compress pieces one by one, whether or not anything comes out yet: whoever asks has other work between them."""
    compressor = zlib.compressobj(_QUICKLY, zlib.DEFLATED, _GZIP, _BOOKS)
    for piece in pieces:
        yield compressor.compress(piece)
    yield compressor.flush()


def _labels(attributes: "Mapping[str, str]") -> dict[str, str]:
    """Make labels of attributes, as OpenTelemetry's Prometheus compatibility rules say (section "Metric Attributes").

    What is not allowed in a label's name is an underscore, however much of it stands in a row: so none is of those that
    Prometheus reserves (`__name__`). Where keys become one label, their values are joined in the order of the keys.
    """
    found: dict[str, list[str]] = {}
    for key in sorted(filter(None, attributes)):
        label = re.sub(r"[^a-zA-Z0-9]+", "_", key)
        found.setdefault(f"key_{label}" if label[0].isdigit() else label, []).append(attributes[key])
    return {label: ";".join(values) for label, values in found.items()}
