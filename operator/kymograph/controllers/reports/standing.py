"""What the reports say at the moment, counted: a gauge of the violations that there are, not of those that ever were.

The replica that leads watches the reports. It hears of every writer, of objects that the API server's garbage collector
deletes with their reports, and of what was written before it began; a scrape asks nobody. Of a report no body is kept,
only which results it has, once for all reports that have the same.
"""

import asyncio
import collections
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from kymograph.clients.kubernetes import informer, resources
from kymograph.controllers.reports import document, findings, forms
from kymograph.model import policyreport as model
from kymograph.telemetry.instruments import Instruments, labels


class _Result(NamedTuple):
    """What a row of a report says, without the object it is about; `policy` as rows have it, `namespace/name`."""

    policy: str
    rule: str
    result: str
    severity: str
    category: str


class _Same:
    """The results that so many reports have, by namespace, all of them the same."""

    __slots__ = ("reports", "results")

    def __init__(self, results: tuple[_Result, ...]) -> None:
        self.results = results
        self.reports: dict[str, int] = {}

    def add(self, namespace: str, reports: int) -> None:
        """Count so many more of a namespace, or fewer."""
        there_are = self.reports.get(namespace, 0) + reports
        if there_are:
            self.reports[namespace] = there_are
        else:
            del self.reports[namespace]


class StandingResults:
    """Counts the results in the reports of the cluster.

    Args:
        client: Lists and watches the reports.
        reported: Which policies and rules are reported on: results of others are about to go, and not counted.
        form: The API that reports are written in.
        instruments: The instruments of the process.
    """

    def __init__(
        self, client: informer.Source, reported: document.Reported, form: forms.Form, instruments: Instruments
    ) -> None:
        self._client = client
        self._reported = reported
        self._form = form
        self._followers: tuple[informer.Informer, ...] = ()
        self._forget()
        self._metric = instruments.report_results
        self._metric.observe(self._counted)

    async def run(self) -> None:
        """Follow the reports until cancelled; from then on it is for another replica to say what they say."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._followers = tuple(map(self._follower, self._form.both))
                for each in self._followers:
                    tasks.create_task(each.run())
        finally:
            self._forget()

    def _follower(self, resource: resources.Resource) -> informer.Informer:
        return informer.Informer(
            self._client,
            resource,
            label_selector="=".join(document.MANAGED_BY),
            project=self._said_by,
            changed=self._changed,
        )

    def _forget(self) -> None:
        self._followers = ()
        self._said: dict[informer.Key, _Same] = {}
        self._alike: dict[tuple[_Result, ...], _Same] = {}
        self._counts: collections.Counter[_Result] = collections.Counter()

    def _said_by(self, stored: Mapping[str, Any]) -> _Same:
        """What a report says: the same object for all reports that say the same."""
        results = tuple(
            _Result(
                row.get("policy", ""),
                row.get("rule", ""),
                row["result"],
                row.get("severity", ""),
                row.get("category", ""),
            )
            for row in document.results_of(stored)
            if row.get("source") == findings.SOURCE and row.get("result") in model.RESULTS
        )
        alike = self._alike.get(results)
        if alike is None:
            alike = self._alike[results] = _Same(results)
        return alike

    def _changed(self, key: informer.Key, now: _Same | None) -> None:
        before = self._said.pop(key, None)
        if now is not None:
            self._said[key] = now
            now.add(key[0], 1)
            self._counts.update(now.results)
        if before is not None:
            before.add(key[0], -1)
            if not before.reports:
                del self._alike[before.results]
            for each in before.results:
                self._counts[each] -= 1
                if not self._counts[each]:
                    del self._counts[each]

    def _counted(self) -> Iterator[tuple[labels.ReportResult, float]]:
        """Read by the threads that collect. Before all reports are listed nothing: fewer would look like progress."""
        followers = self._followers
        if not followers or not all(each.synced.is_set() for each in followers):
            return
        for each, of, count in self._by_namespace() if self._metric.tells_namespaces else self._everywhere():
            if self._reported(each.policy, each.rule):
                namespace, _, name = each.policy.rpartition("/")
                kind = "namespaced" if namespace else "cluster"
                said = (name, each.rule, each.result, each.severity, each.category)
                yield labels.ReportResult(kind, namespace or "-", *said, of), count

    def _everywhere(self) -> Iterator[tuple[_Result, str, int]]:
        return ((each, "", count) for each, count in list(self._counts.items()))

    def _by_namespace(self) -> Iterator[tuple[_Result, str, int]]:
        """Many more: as many as there are namespaces, times all else."""
        for same in list(self._alike.values()):
            for namespace, count in list(same.reports.items()):
                for each in same.results:
                    yield each, namespace, count
