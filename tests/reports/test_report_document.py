"""A report is what is stored and what was found, merged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kymograph.controllers.reports import document, findings, forms
from support.reporting import POD, row, says

NODE = findings.Subject("", "v1", "Node", "", "n1", "uid-n1")
DEPLOYMENT = findings.Subject("apps", "v1", "Deployment", "shop", "web", "uid-d")
FOREIGN = {"source": "KyvernoValidatingPolicy", "policy": "p", "result": "error", "message": "theirs"}


def everything(_policy: str, _rule: str) -> str:
    return "validate"


@pytest.mark.parametrize(
    ("subject", "kind", "api_version"),
    [
        (POD, "PolicyReport", "v1"),
        (DEPLOYMENT, "PolicyReport", "apps/v1"),
        (NODE, "ClusterPolicyReport", "v1"),
    ],
)
def test_a_report_belongs_to_its_object(subject: findings.Subject, kind: str, api_version: str) -> None:
    """Named by its uid, owned by it, scoped to it, labelled as Kyverno's are."""
    made = document.merged(subject, None, says(p="pass"), everything)
    owner = {"apiVersion": api_version, "kind": subject.kind, "name": subject.name, "uid": subject.uid}
    where = {"namespace": subject.namespace} if subject.namespace else {}
    assert made["kind"] == kind
    assert made["metadata"] == {
        "name": subject.uid,
        "labels": {"app.kubernetes.io/managed-by": "kyverno"},
        "ownerReferences": [owner],
        **where,
    }
    assert made["scope"] == {**owner, **where}
    assert document.subject_of(made) == subject


def test_a_result_that_says_the_same_keeps_its_time_and_its_trace() -> None:
    """Each request has a trace of its own; that alone is no reason to write a report."""
    found = says(p="fail")["p"]
    before = document.merged(POD, None, {"p": found._replace(trace="https://jaeger.example/1")}, everything)
    again = found._replace(trace="https://jaeger.example/2", at=found.at + 1)
    after = document.merged(POD, before, {"p": again}, everything)
    assert after == before
    assert before["results"][0]["properties"]["trace"] == "https://jaeger.example/1"
    assert document.tells(before, document.merged(POD, None, {"p": again}, everything))


def test_open_reports_differ_in_names_alone() -> None:
    """The API group, its version and the kinds; every field is the same."""
    for subject, kind, other in ((POD, "Report", "PolicyReport"), (NODE, "ClusterReport", "ClusterPolicyReport")):
        made = document.merged(subject, None, says(p="pass"), everything, forms.OPEN_REPORTS)
        before = document.merged(subject, None, says(p="pass"), everything)
        assert (made["apiVersion"], made["kind"], before["kind"]) == ("openreports.io/v1alpha1", kind, other)
        assert {**made, "kind": other, "apiVersion": before["apiVersion"]} == before


def test_only_results_that_are_allowed_get_into_reports() -> None:
    """As Kyverno's `--allowedResults`: a failure that does not count is one."""
    form = forms.chosen(openreports=False, results=frozenset({"fail"}))
    made = document.merged(POD, None, says(a="pass", b="fail", c="skip"), everything, form)
    assert [each["policy"] for each in made["results"]] == ["b"]
    assert made["summary"]["fail"] == sum(made["summary"].values()) == 1


def test_what_rules_changed_and_made_stays_when_their_policies_judge_anew() -> None:
    """And the other way round: each is found by somebody else."""
    types = {"r": "validate", "changes": "mutate", "makes": "generate"}
    stored = {"results": [row("a", rule) for rule in types]}
    made = document.merged(POD, stored, says(a="fail"), lambda _policy, rule: types[rule])
    assert [(each["rule"], each["result"]) for each in made["results"]] == [
        ("changes", "pass"),
        ("makes", "pass"),
        ("r", "fail"),
    ]
    silent = {findings.of_rule("a", "makes"): findings.Found(None, 0)}
    made = document.merged(POD, stored, silent, lambda _policy, rule: types[rule])
    assert [each["rule"] for each in made["results"]] == ["changes", "r"]


def test_evaluated_policies_are_replaced_others_kept() -> None:
    """An evaluation says all that a policy has to say; of a policy without a say nothing is left."""
    stored = {"results": [row("a", "gone"), row("a", "r"), row("b"), row("c"), FOREIGN]}
    made = document.merged(POD, stored, says(a="fail", b=""), everything)
    assert [(each["policy"], each.get("rule"), each["result"]) for each in made["results"]] == [
        ("a", "r", "fail"),
        ("c", "r", "pass"),
        ("p", None, "error"),
    ]


def test_results_of_unreported_policies_go() -> None:
    """Stored or just found; other sources are not ours to judge."""
    stored = {"results": [row("a"), row("b"), FOREIGN]}
    made = document.merged(POD, stored, says(c="pass"), lambda policy, _rule: policy == "b")
    assert [each["policy"] for each in made["results"]] == ["b", "p"]
    assert document.merged(POD, {"results": [row("a")]}, {}, lambda _policy, _rule: False) is None


names = st.sampled_from(["a", "b", "c", "ns/a"])
entries = st.lists(
    st.builds(row, names, names, st.sampled_from(["pass", "fail", "warn", "error", "skip"]), st.integers(0, 9)),
    max_size=12,
)


@given(entries, st.dictionaries(names, st.sampled_from(["", "pass", "fail", "error"])))
def test_the_summary_is_always_right(stored: list, results: dict) -> None:
    """It counts the results, which are sorted; and merging again changes nothing."""
    latest = says(**results)
    made = document.merged(POD, {"results": stored}, latest, everything)
    if made is None:
        assert all(each["policy"] in latest for each in stored)
        return
    merged = [each["result"] for each in made["results"]]
    assert made["summary"] == {result: merged.count(result) for result in ("pass", "fail", "warn", "error", "skip")}
    assert sum(made["summary"].values()) == len(merged) > 0
    keys = [(each["policy"], each["rule"]) for each in made["results"]]
    assert keys == sorted(keys)
    assert document.tells(made, document.merged(POD, made, latest, everything))


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"timestamp": {"seconds": 9, "nanos": 9}}, True),
        ({"message": "other"}, False),
        ({"result": "skip"}, False),
        ({"properties": findings.ADMISSION}, False),
    ],
)
def test_only_time_may_differ(change: dict, same: bool) -> None:
    """A report that says the same as before is not written again."""
    stored = document.merged(POD, None, says(p="pass"), everything)
    (entry,) = stored["results"]
    assert document.tells({**stored, "results": [{**entry, **change}]}, stored) is same


def test_a_report_that_lost_its_owner_is_written_again() -> None:
    """Whoever edits our fields sees them come back."""
    wanted = document.merged(POD, None, says(p="pass"), everything)
    for lost in ("ownerReferences", "labels"):
        metadata = {key: value for key, value in wanted["metadata"].items() if key != lost}
        assert not document.tells({**wanted, "metadata": metadata}, wanted)


@pytest.mark.parametrize(
    "metadata",
    [
        {"name": "uid-web"},
        {"name": "uid-web", "labels": {"app.kubernetes.io/managed-by": "trivy"}},
        {"name": "audit-7", "labels": {"app.kubernetes.io/managed-by": "kyverno"}},
    ],
)
def test_reports_of_others_are_not_ours(metadata: dict) -> None:
    """Another label, or a name that is not the uid of the object."""
    assert document.subject_of({"metadata": metadata, "scope": {"uid": "uid-web"}}) is None
