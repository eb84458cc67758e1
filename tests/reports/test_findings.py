"""From results of an evaluation to entries of a report, and how findings on one object add up."""

import pytest

from kymograph.controllers.reports import findings
from support.reporting import FOUND_AT, POD, compiled, found, result_of


def test_an_entry_says_what_kyverno_says() -> None:
    """Source, policy, rule, result, message, scored, severity, category, timestamp and properties."""
    policy = compiled(
        name="named",
        namespace="shop",
        annotations={"policies.kyverno.io/severity": "high", "policies.kyverno.io/category": "Security"},
    )
    assert findings.rows(findings.Found(result_of(policy, "fail", "no", team="shop"), FOUND_AT)) == (
        {
            "source": "kyverno",
            "policy": "shop/named",
            "rule": "r",
            "result": "fail",
            "message": "no",
            "scored": True,
            "severity": "high",
            "category": "Security",
            "timestamp": {"seconds": 1_709_294_400, "nanos": 7},
            "properties": {"team": "shop", "process": "background scan"},
        },
    )


@pytest.mark.parametrize(("status", "told"), [("fail", True), ("error", True), ("pass", False), ("skip", False)])
def test_what_failed_says_where_its_trace_is(status: str, told: bool) -> None:
    """As a property, where there is a link."""
    found = findings.Found(result_of(compiled(), status), FOUND_AT, trace="https://jaeger.example/trace/1")
    properties = findings.rows(found)[0]["properties"]
    assert properties.get("trace") == ("https://jaeger.example/trace/1" if told else None)


@pytest.mark.parametrize("status", ["pass", "fail", "warn", "error", "skip"])
def test_a_failure_of_an_unscored_policy_is_a_warning(status: str) -> None:
    """Annotation `policies.kyverno.io/scored: "false"`; other results stay what they are."""
    policy = compiled(annotations={"policies.kyverno.io/scored": "false"})
    (row,) = findings.rows(findings.Found(result_of(policy, status), FOUND_AT))
    assert (row["result"], row["scored"]) == ("warn" if status == "fail" else status, False)


def test_an_unknown_severity_is_left_out() -> None:
    """The schema knows five words; with any other the API server would refuse the whole report."""
    policy = compiled(annotations={"policies.kyverno.io/severity": "Terrible"})
    assert "severity" not in findings.rows(findings.Found(result_of(policy), FOUND_AT))[0]


@pytest.mark.parametrize(
    ("status", "properties", "message"),
    [
        ("fail", {"failMessage": "its own"}, "its own"),
        ("pass", {"failMessage": "its own"}, "the rule's"),
        ("skip", {"message": "any"}, "any"),
        ("pass", {"message": "any", "passMessage": "its own"}, "any"),
    ],
)
def test_report_properties_may_replace_the_message(status: str, properties: dict, message: str) -> None:
    """`passMessage`, `failMessage`, ... for one result; `message`, where it is given, for all."""
    result = result_of(compiled(), status, "the rule's", **properties)
    assert findings.rows(findings.Found(result, FOUND_AT))[0]["message"] == message


def test_a_message_has_an_end() -> None:
    """What an object brings into a message must not make its report too large to be stored."""
    (row,) = findings.rows(findings.Found(result_of(compiled(), text="x" * 100_000), FOUND_AT))
    assert len(row["message"]) == findings.MOST_MESSAGE


def test_the_latest_word_of_each_policy_counts() -> None:
    """Two webhooks see one request with different policies; a later request may see fewer of them."""
    both = found(p="pass", fresh=True).then(found(q="pass", fresh=True))
    assert both.fresh
    later = both.then(found(q="fail", replaces="7"))
    assert not later.fresh
    assert later.of("8") == found(p="pass", q="fail").latest


def test_findings_on_a_change_that_was_not_stored_do_not_count() -> None:
    """The object still has the version from before the request: what was found before it holds."""
    created = found(p="pass", q="pass")
    refused = created.then(found(p="fail", replaces="7")).then(found(q="fail", replaces="7"))
    assert refused.of("7") == created.latest
    assert refused.of("8") == found(p="fail", q="fail").latest
    settled = refused.then(found(p="skip", replaces="8"))
    assert settled.of("8") == found(p="fail", q="fail").latest


def test_an_empty_look_at_a_report_adds_nothing() -> None:
    """The removal of a deleted policy's results does not disturb what waits for the same object."""
    waiting = found(p="pass", replaces="7")
    look = findings.Findings(POD)
    assert waiting.then(look) == look.then(waiting) == waiting


def test_links_are_bounded() -> None:
    """The latest requests of an object that many requests changed."""
    added = found(p="pass", requests=("first",))
    for number in range(100):
        added = added.then(found(p="pass", requests=(number,)))
    assert added.requests == tuple(range(100 - findings.MOST_LINKS, 100))
