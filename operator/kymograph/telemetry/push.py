"""Metrics pushed to a receiver, beside being scraped: a thread that reads the same cells at its own interval.

Nobody waits for it and nothing depends on it. A receiver that is gone costs the thread its patience, shows in the
status, and is told everything when it is back: the cells own the values. Only one exporter pushes at a time: its
successor waits until it has ended or has been interrupted, so that no number is told twice for a change of endpoint.
"""

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from opentelemetry.sdk.metrics import export

from kymograph.telemetry import errors, temporality
from kymograph.telemetry.metricencoding import Scoped
from kymograph.telemetry.metricsettings import Temporality

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

BATCH = 1_000
"""Data points in one request: with 13 labels and 15 buckets less than 1 MB, a quarter of what collectors take."""

GRACE = 2.0
"""Seconds that a replaced exporter has for what it has begun, before it is interrupted; and again after that."""


class Exporter(Protocol):
    """What delivers metrics. Called from one thread, except `shutdown`, which interrupts `export`."""

    def export(self, resource: "Resource", metrics: Sequence[Scoped]) -> None:
        """Deliver a batch, with whatever retries are worth while.

        Raises:
            ExportFailed: Some or all of the batch was given up. Any other exception means all of it.
        """

    def shutdown(self) -> None:
        """Give up what is under way and let go of the connection."""


class Collected(NamedTuple):
    """All metrics, cumulative.

    Attributes:
        resource: Whose they are.
        metrics: The metrics, of which large ones may be in several parts; what they say is read when they are taken.
    """

    resource: "Resource"
    metrics: Iterable[Scoped]


class OnDemandReader(export.MetricReader):
    """Reads the SDK's own instruments when asked, cumulative. For one thread."""

    def __init__(self) -> None:
        super().__init__()
        self._received: export.MetricsData | None = None

    def read(self) -> export.MetricsData | None:
        """Read them; None while there are none."""
        self._received = None
        self.collect()
        return self._received

    def _receive_metrics(
        self,
        metrics_data: export.MetricsData,
        timeout_millis: float = 10_000,  # noqa: ARG002 - the SDK's signature
        **_: object,
    ) -> None:
        self._received = metrics_data

    def shutdown(self, timeout_millis: float = 30_000, **_: object) -> None:
        """Nothing to let go of; see `MetricReader`."""


@dataclasses.dataclass(frozen=True, slots=True)
class PushStatus:
    """What became of the data points so far.

    Attributes:
        sent: Data points that were delivered.
        dropped: Data points that a receiver rejected for good. Those of a failed push are delivered by a later one.
        last_success: Nanoseconds since the epoch of the last delivered batch.
        last_error: Text of the last failed batch's error.
        last_error_at: Nanoseconds since the epoch of that failure.
    """

    sent: int = 0
    dropped: int = 0
    last_success: int | None = None
    last_error: str | None = None
    last_error_at: int | None = None


class Push:
    """The pushing side of the metrics. Made once per process.

    Args:
        collect: Reads all metrics, cumulative; called in the pushing thread.
        wall_clock: Nanoseconds since the epoch, for the status.
        grace: Seconds that a replaced exporter has to finish by itself, and then again to stop.
    """

    def __init__(
        self, collect: Callable[[], Collected], *, wall_clock: Callable[[], int], grace: float = GRACE
    ) -> None:
        self._collect = collect
        self._wall_clock = wall_clock
        self._grace = grace
        self._ledger = temporality.Ledger()
        self._changed = threading.Condition()
        self._status = PushStatus()
        self._rounds: _Rounds | None = None

    def swap(
        self,
        exporter: Exporter | None,
        interval: float = 60.0,
        counting: Temporality = Temporality.CUMULATIVE,
    ) -> None:
        """Push to another exporter, or to none, from now on, and return at once.

        The new one is told everything that was not delivered, at once and then at each interval (seconds). The old
        one is interrupted after `grace` seconds; with no successor it is told what there is once more.
        """
        old = self._rounds
        self._rounds = None if exporter is None else _Rounds(self, exporter, interval, counting, old)
        if old is not None:
            old.end(flush=exporter is None)
        if self._rounds is not None:
            self._rounds.start()
        elif old is not None:
            patience = (self._grace, self._grace)
            threading.Thread(target=old.reap, args=patience, name="kymograph-reap", daemon=True).start()

    def close(self, timeout: float) -> None:
        """Tell the exporter what there is once more within `timeout` seconds, and let it go."""
        old, self._rounds = self._rounds, None
        if old is not None:
            old.end(flush=True)
            old.reap(timeout, self._grace)

    def status(self) -> PushStatus:
        """Take a snapshot."""
        return self._status

    def wait(self, until: Callable[[PushStatus], bool], timeout: float) -> bool:
        """Wait until the status is as wanted; False if it took longer than `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: until(self._status), timeout)

    def succeed(self, old: "_Rounds") -> None:
        """Wait until the rounds of the exporter before have ended, or see to it."""
        old.reap(self._grace, self._grace)

    def round(self, rounds: "_Rounds") -> None:
        """Tell an exporter everything that it was not told."""
        batches = self._batches()
        while True:
            try:
                part = next(batches, None)
            except Exception as failure:  # noqa: BLE001 - whatever is observed may fail; the next round tries again
                self._failed(f"collecting: {failure!r}")
                return
            if part is None or not self._tell(rounds, *part):
                return

    def _tell(self, rounds: "_Rounds", resource: "Resource", batch: list[Scoped]) -> bool:
        """Tell an exporter of one batch; whether there is any use in going on."""
        told = batch if rounds.counting is Temporality.CUMULATIVE else self._news(batch)
        if not told:
            return True
        count = sum(len(each.metric.data.data_points) for each in told)
        success = {}
        try:
            rounds.exporter.export(resource, told)
        except errors.ExportFailed as failure:
            if rounds.abandoned:
                return False
            self._failed(str(failure), failure.rejected or 0)
            if failure.rejected is None:
                return False
            count -= min(failure.rejected, count)
        except Exception as failure:  # noqa: BLE001 - any exporter's any failure is one and the same to us
            self._failed(repr(failure))
            return False
        else:
            success = {"last_success": self._wall_clock()}
        if rounds.abandoned:
            return False
        self._note(sent=self._status.sent + count, **success)
        for each in batch:
            self._ledger.settle(each.metric)
        return True

    def _batches(self) -> "Iterator[tuple[Resource, list[Scoped]]]":
        """Everything in batches of at most `BATCH` points, each read when it is asked for; large metrics in several."""
        resource, metrics = self._collect()
        batch: list[Scoped] = []
        room = BATCH
        for scope, metric in metrics:
            points = metric.data.data_points
            while points:
                batch.append(Scoped(scope, _with_points(metric, points[:room])))
                points, room = points[room:], room - min(len(points), room)
                if not room:
                    yield resource, batch
                    batch, room = [], BATCH
        if batch:
            yield resource, batch

    def _news(self, batch: list[Scoped]) -> list[Scoped]:
        news = ((each.scope, self._ledger.since(each.metric)) for each in batch)
        return [Scoped(scope, metric) for scope, metric in news if metric is not None]

    def _failed(self, error: str, rejected: int = 0) -> None:
        self._note(last_error=error, last_error_at=self._wall_clock(), dropped=self._status.dropped + rejected)

    def _note(self, **changed: object) -> None:
        with self._changed:
            self._status = dataclasses.replace(self._status, **changed)  # type: ignore[arg-type] # its own fields
            self._changed.notify_all()


class _Rounds(threading.Thread):
    """The thread of one exporter."""

    def __init__(
        self,
        push: Push,
        exporter: Exporter,
        interval: float,
        counting: Temporality,
        before: "_Rounds | None",
    ) -> None:
        super().__init__(name="kymograph-push", daemon=True)
        self.exporter = exporter
        self.counting = counting
        self.abandoned = False
        self._push = push
        self._interval = interval
        self._before = before
        self._flush = False
        self._ended = threading.Event()

    def run(self) -> None:
        if self._before is not None:
            self._push.succeed(self._before)
            self._before = None
        flushed = False
        while not self._ended.is_set() or (self._flush and not flushed):
            flushed = self._ended.is_set()
            self._push.round(self)
            if not flushed:
                self._ended.wait(self._interval)
        self._let_go()

    def end(self, *, flush: bool) -> None:
        """Begin no further round, or with `flush` one more."""
        self._flush = flush
        self._ended.set()

    def reap(self, patience: float, grace: float) -> None:
        """Wait for the end, interrupt the exporter after `patience`, and after `grace` more care for it no longer."""
        self.join(patience)
        if self.is_alive():
            self.abandoned = True
            self._let_go()
            self.join(grace)

    def _let_go(self) -> None:
        with contextlib.suppress(Exception):  # it is let go of either way
            self.exporter.shutdown()


def _with_points(metric: export.Metric, points: Sequence[object]) -> export.Metric:
    if len(points) == len(metric.data.data_points):
        return metric
    data = dataclasses.replace(metric.data, data_points=points)  # type: ignore[arg-type] # they are that data's own
    return dataclasses.replace(metric, data=data)
