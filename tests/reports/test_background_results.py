"""Results of generate rules and of rules with targets share the report with what policies found in the same object."""

import asyncio
import time

from fakes import traced
from kymograph.clients.kubernetes import errors
from kymograph.controllers.reports import controller, document, findings, writer
from kymograph.engine import compile as compiler
from kymograph.engine.results import PolicyResult, RuleResult
from support.reporting import POD, FakeCatalogues, FakeCluster, served
from support.writtenpolicies import generating, policy, validating


def compiled():
    """A policy that validates and generates."""
    written = policy(
        validating(pattern={"kind": "Pod"}), {**generating(), "match": {"any": [{"resources": {"kinds": ["Pod"]}}]}}
    )
    written["metadata"] |= {"uid": "u", "resourceVersion": "1"}
    return compiler.compile_policy(written)


def found(policy, rule, status, **properties):
    (rule,) = [each for each in policy.rules if each.name == rule]
    result = RuleResult(rule, status, "", "Audit", 0, 0, properties, None)
    return findings.Found(PolicyResult(policy, "Audit", (result,)), 1)


def reported(_policy, rule):
    """See `document.Reported`."""
    return {"r": "validate", "r1": "generate"}[rule]


def statuses(report):
    return {row["rule"]: row["result"] for row in report["results"]}


def test_each_replaces_only_its_own() -> None:
    """Whichever comes last; and what a rule has to say no more is gone."""
    policy = compiled()
    work = {findings.of_rule("p", "r1"): found(policy, "r1", "pass", **{"generated-resources": "/v1, Kind=ConfigMap"})}
    scan = {"p": found(policy, "r", "fail")}
    first = document.merged(POD, None, scan, reported)
    both = document.merged(POD, first, work, reported)
    assert statuses(both) == {"r": "fail", "r1": "pass"}
    again = document.merged(POD, both, {"p": found(policy, "r", "pass")}, reported)
    assert statuses(again) == {"r": "pass", "r1": "pass"}
    silent = {findings.of_rule("p", "r1"): findings.Found(None, 2)}
    assert statuses(document.merged(POD, again, silent, reported)) == {"r": "pass"}


def test_there_is_no_subject_without_a_stored_object() -> None:
    """Subresources, kinds without reports, and objects without uid have none."""
    request = {"kind": {"group": "", "version": "v1", "kind": "Pod"}, "object": {"metadata": {"name": "a", "uid": "u"}}}
    assert findings.subject_of(request) == findings.Subject("", "v1", "Pod", "", "a", "u")
    assert findings.subject_of({**request, "subResource": "exec"}) is None
    assert findings.subject_of({**request, "object": None}) is None
    assert findings.subject_of({**request, "object": {"metadata": {"name": "a"}}}) is None
    assert findings.subject_of({**request, "kind": {"group": "", "version": "v1", "kind": "Event"}}) is None


async def test_work_goes_on_while_no_report_can_be_written(store, monkeypatch) -> None:
    """What there is no room for is dropped then, and counted; the rest is looked at once that can be done."""
    monkeypatch.setattr(controller, "MOST_AT_ALL", 3)
    monkeypatch.setattr(controller, "LOOK_AGAIN", 0.02)
    monkeypatch.setattr(writer, "PAUSE_FIRST", 0.02)
    monkeypatch.setattr(writer, "PAUSE_MOST", 0.02)

    class Unreachable(FakeCluster):
        away = True

        async def _called(self, verb, resource, name):
            if self.away:
                raise errors.Unreachable("no answer")
            await super()._called(verb, resource, name)

    cluster, policy = Unreachable(), compiled()
    status = found(policy, "r1", "pass").result.rules

    def request(number):
        metadata = {"name": f"a-{number}", "namespace": "shop", "uid": f"u-{number}"}
        return {"kind": {"group": "", "version": "v1", "kind": "Pod"}, "object": {"metadata": metadata}, **metadata}

    async with traced.kept() as kept:
        catalogues = FakeCatalogues(served("", "v1", "pods", "Pod"))
        reports = controller.Reports(cluster, catalogues, store, kept.telemetry, time.monotonic_ns, time.time_ns)
        running = asyncio.create_task(reports.run())
        try:
            async with asyncio.timeout(60):
                taken = [await reports.applied(request(number), policy, "r1", status) for number in range(20)]
                dropped = taken.count(None)
                assert dropped
                counted = kept.scrape()
                assert sum(counted[name] for name in counted if name.startswith("report_reviews_dropped")) == dropped
                cluster.away = False
                await reports.drain(50)
                looked_at = {name for _, plural, name in cluster.calls if plural == "policyreports"}
                assert len(looked_at) == len(taken) - dropped
        finally:
            running.cancel()
            await asyncio.wait([running])
