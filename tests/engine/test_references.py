"""References within a document: `$(./../key)`."""

import pytest

from kymograph.engine import budget as budgets
from kymograph.engine import errors, pattern, variables


def resolved(document, context=None):
    return variables.compile(document, "doc").resolve(context or {}, budgets.Budget())


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({"a": "x", "b": "$(./../a)"}, {"a": "x", "b": "x"}),
        ({"a": "x", "b": "$(/a)"}, {"a": "x", "b": "x"}),
        ({"a": "x", "b": "is $(./../a)"}, {"a": "x", "b": "is x"}),
        ({"a": "64Mi", "b": "$(<=./../a)"}, {"a": "64Mi", "b": "<=64Mi"}),
        ({"a": 3, "b": "$(>./../a)"}, {"a": 3, "b": ">3"}),
        ({"a": 1.5, "b": "$(>./../a)"}, {"a": 1.5, "b": ">1.500000"}),
        ({"a": "{{ x }}", "b": "$(./../a)"}, {"a": 7, "b": 7}),
        ({"=(a)": {"(c)": "x"}, "b": "$(./../a/c)"}, {"=(a)": {"(c)": "x"}, "b": "x"}),
        ({"a": ["x", {"b": "$(./../../0)"}]}, {"a": ["x", {"b": "x"}]}),
        ({"a": "x", "$(./a)": 1}, {"a": "x", "x": 1}),
        ({"a": "\\$(./../b)"}, {"a": "$(./../b)"}),
        ({"a": "$()"}, {"a": "$()"}),
    ],
)
def test_a_reference_stands_for_the_value_at_its_path(document, found):
    assert resolved(document, {"x": 7}) == found


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"a": "$(./../b)"}, "doc.a: got nil resolved variable $(./../b) at path /a: <nil>"),
        ({"a": "$(./../b)", "b": {"c": 1}}, "doc.a: got nil resolved variable $(./../b) at path /a: <nil>"),
        ({"a": "$(./../b)", "b": 1}, "doc.a: NotResolvedReferenceErr,reference $(./../b) not resolved at path /a"),
        ({"a": "$(>)"}, "doc.a: failed to resolve $(>) at path /a: expected path, found empty reference"),
        ({"a": "$(>./../b)", "b": True}, "incorrect expression: operator > does not match with value"),
    ],
)
def test_a_reference_that_leads_nowhere_is_a_problem_of_the_policy(document, reason):
    with pytest.raises(errors.PolicyInvalid) as invalid:
        variables.compile(document, "doc")
    assert reason in str(invalid.value)


@pytest.mark.parametrize(("limit", "status"), [("128Mi", "pass"), ("32Mi", "fail")])
def test_a_pattern_may_refer_to_its_own_values(limit, status):
    document = {"requests": {"memory": "64Mi"}, "limits": {"memory": "$(>=./../../requests/memory)"}}
    resource = {"requests": {"memory": "64Mi"}, "limits": {"memory": limit}}
    assert pattern.compile(document, "p").check(resource, {}, budgets.Budget()).status == status
