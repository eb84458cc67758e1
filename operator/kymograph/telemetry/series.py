"""The series of a metric that is made of cells: which there are, how they are put together, and when they go.

Labels are dropped where a cell is bound, not where it is read: a dropped label then costs no memory, series that it
told apart count against no limit, and a sum never goes back because one of its parts went away, which a Prometheus
would take for a restart.

Binding, regrouping and forgetting happen in the thread that writes cells. They add to the series that a reader may be
looking at, or put others in their place.
"""

import abc
from collections.abc import Iterator, Mapping
from typing import Generic, Self, TypeVar

from kymograph.telemetry import errors, families, memory, temporality, views
from kymograph.telemetry.families import OVERFLOW, Values


class Cell(temporality.Source, abc.ABC):
    """One series of a metric, from `start` on (nanoseconds since the epoch)."""

    __slots__ = ("labels", "start")

    def __init__(self, labels: Values, start: int) -> None:
        super().__init__()
        self.labels = labels
        self.start = start

    @abc.abstractmethod
    def absorb(self, part: Self) -> None:
        """Take in what another cell of the same metric took in."""


CELL = 1_024
"""Bytes of a series with one number, its exemplar and what was told of it."""

LONGEST = 253
"""Characters of a label's value: as many as a name has in Kubernetes. Reviews may claim to be about anything."""

LABEL = 56
"""Bytes of a label's value beside its characters."""

CellT = TypeVar("CellT", bound=Cell)


class Series(Generic[CellT]):
    """All series of a metric that are shown with the same labels."""

    __slots__ = ("cells", "claim", "labels", "overflow")

    def __init__(self, labels: tuple[str, ...], cells: dict[Values, CellT], overflow: CellT | None = None) -> None:
        self.claim: memory.Claim | None = None  # on what they hold of memory, until nobody looks at them any more
        self.labels = labels
        self.cells = cells
        self.overflow = overflow

    def __iter__(self) -> Iterator[tuple[Mapping[str, str | bool], CellT]]:
        """The cells with their attributes, as they are now, whatever is added meanwhile."""
        cells, overflow = list(self.cells.values()), self.overflow
        for cell in cells:
            yield dict(zip(self.labels, cell.labels, strict=True)), cell
        if overflow is not None:
            yield OVERFLOW, overflow


class Instrument(families.Family, Generic[CellT]):
    """A metric made of cells.

    Args:
        about: What the instrument is.
        start: Nanoseconds since the epoch at which its series begin at zero.

    Attributes:
        overflowed: How often a set of labels found no room for a series of its own.
    """

    def __init__(self, about: views.Description, start: int) -> None:
        super().__init__(about)
        self.overflowed = 0
        self._room: memory.Share | None = None
        self._start = start
        self._series: Series[CellT] = Series(self._labels(), {})
        self._uncounted: CellT = self._make(())

    @property
    def size(self) -> int:
        """How many series there are, the overflow series among them."""
        return len(self._series.cells) + (self._series.overflow is not None)

    def share(self, room: memory.Share) -> None:
        """From now on series are made as long as there is room for them; without this, as many as the limit says."""
        self._room = room
        self._hold(self._series)

    def bind(self, values: Values) -> CellT:
        """Find or make the cell of these label values.

        It is the metric's until cells are to be bound anew (`Cells.on_rebinding`); one without labels is forever.

        Raises:
            InstrumentInvalid: There are more or fewer values than labels.
        """
        cell = self._series.cells.get(values)
        return self._bind(tuple(values)) if cell is None else cell

    def show(self, view: views.View, now: int) -> bool:
        """Show it otherwise; see `Family`.

        Labels that are dropped make one series of several, with what all of them counted. Of labels that come back
        what was counted so far has no value: it stays in series where they are empty, which to Prometheus is a series
        without them. Other buckets cannot be made of what was counted: then the metric starts again.
        """
        before, self._view = self._view, view
        series = self._series
        if view.bounds != before.bounds:
            self._start = now
            self._hold(Series(self._labels(), {}))
            return True
        same = view.policy_type == before.policy_type and (
            view.namespace is None or view.namespaces == before.namespaces
        )
        if view.kept == before.kept and same and len(series.cells) < view.limit:
            return view.limit > before.limit and series.overflow is not None
        with temporality.Source.settling:
            self._regroup(before)
        self._start = now
        return True

    def forget(self, about: Mapping[str, str], now: int) -> bool:
        """Drop series; see `Family`. Where one of the labels is not shown nothing can be told apart, and nothing is."""
        series = self._series
        if self.about.lasting or not about.keys() <= set(series.labels):
            return False
        wanted = [(series.labels.index(label), value) for label, value in about.items()]
        left = {key: cell for key, cell in series.cells.items() if any(key[at] != value for at, value in wanted)}
        if len(left) == len(series.cells):
            return False
        self._hold(Series(series.labels, left, series.overflow))
        self._start = now
        return True

    def _bind(self, values: Values) -> CellT:
        if len(values) != len(self.about.labels):
            raise errors.InstrumentInvalid(f"{self.about.name} has {len(self.about.labels)} labels, not {values}")
        view, series = self._view, self._series
        if not view.admits(values):
            return self._uncounted
        key = values if len(view.kept) == len(values) else tuple(values[at] for at in view.kept)
        if any(len(value) > LONGEST for value in key):
            key = tuple(value[:LONGEST] for value in key)
        cell = series.cells.get(key)
        if cell is not None:
            return cell
        if len(series.cells) < view.limit - 1 and (
            series.claim is None or series.claim.grow(self._weight + _texts(key))
        ):
            cell = series.cells[key] = self._make(key)
            return cell
        self.overflowed += 1
        if series.overflow is None:
            series.overflow = self._make(())
        return series.overflow

    def _regroup(self, before: views.View) -> None:
        """Put the series together as the view of now has them; what is not counted any more is left out."""
        view, series = self._view, self._series
        places = [before.kept.index(at) if at in before.kept else None for at in range(len(self.about.labels))]
        groups: dict[Values, list[CellT]] = {}
        beyond = [series.overflow] if series.overflow is not None else []
        for key, cell in series.cells.items():
            values = tuple("" if place is None else key[place] for place in places)
            if not view.admits(values):
                continue
            target = tuple(values[at] for at in view.kept)
            group = groups.get(target, beyond if len(groups) >= view.limit - 1 else None)
            if group is None:
                group = groups[target] = []
            group.append(cell)
        cells = {key: self._merged(key, group) for key, group in groups.items()}
        self._hold(Series(self._labels(), cells, self._merged((), beyond) if beyond else None))

    def _merged(self, labels: Values, parts: list[CellT]) -> CellT:
        """A cell of several; a cell that stays alone stays itself, for those that hold it."""
        if len(parts) == 1 and parts[0].labels == labels:
            return parts[0]
        merged = self._make(labels)
        merged.start = min(part.start for part in parts)
        for part in parts:
            merged.absorb(part)
            merged.succeed(part)
        return merged

    def _hold(self, series: Series[CellT]) -> None:
        """Have these series and no others."""
        if self._room is not None:
            series.claim = self._room.claim()
            series.claim.grow(sum(self._weight + _texts(key) for key in series.cells), anyway=True)
        self._series = series

    @property
    def _weight(self) -> int:
        """Bytes that a series holds without its labels, with what was told of it: rather too many."""
        return CELL

    def _labels(self) -> tuple[str, ...]:
        return tuple(self.about.labels[at] for at in self._view.kept)

    @abc.abstractmethod
    def _make(self, values: Values) -> CellT: ...


def _texts(labels: Values) -> int:
    """Bytes of the values of labels."""
    return sum(LABEL + len(each) for each in labels)
