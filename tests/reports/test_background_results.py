"""Results of generate rules and of rules with targets share the report with what policies found in the same object."""

from kymograph.controllers.reports import document, findings
from kymograph.engine import compile as compiler
from kymograph.engine.results import PolicyResult, RuleResult
from support.reporting import POD
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
