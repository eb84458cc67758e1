"""Label selectors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kymograph.apimachinery import labels


@pytest.mark.parametrize(
    ("selector", "found", "matches"),
    [
        ({}, {}, True),
        ({}, {"a": "b"}, True),
        ({"matchLabels": {"app": "web"}}, {"app": "web", "tier": "x"}, True),
        ({"matchLabels": {"app": "web"}}, {"app": "db"}, False),
        ({"matchLabels": {"app": "web"}}, {}, False),
        ({"matchLabels": {"app": "web", "tier": "x"}}, {"app": "web"}, False),
        ({"matchLabels": {"app": ""}}, {"app": ""}, True),
        ({"matchLabels": {"app": ""}}, {}, False),
    ],
)
def test_match_labels_hold_together(selector, found, matches):
    assert labels.matcher(selector)(found) is matches


@pytest.mark.parametrize(
    ("key", "value", "found", "matches"),
    [
        ("app", "web*", {"app": "web-1"}, True),
        ("app", "web-?", {"app": "web-12"}, False),
        ("app*", "web", {"app.kubernetes.io/name": "web"}, True),
        ("*", "*", {"a": "b"}, True),
        ("*", "*", {}, False),
        ("a*", "x", {"ab": "y", "ac": "x"}, True),
        ("a*", "x", {"ab": "y", "bc": "x"}, False),
    ],
)
def test_wildcards_need_one_label_that_matches_key_and_value(key, value, found, matches):
    assert labels.matcher({"matchLabels": {key: value}})(found) is matches


@pytest.mark.parametrize(
    ("operator", "values", "found", "matches"),
    [
        ("In", ["a", "b"], {"k": "a"}, True),
        ("In", ["a", "b"], {"k": "c"}, False),
        ("In", ["a", "b"], {}, False),
        ("NotIn", ["a"], {"k": "b"}, True),
        ("NotIn", ["a"], {"k": "a"}, False),
        ("NotIn", ["a"], {}, True),
        ("Exists", [], {"k": "x"}, True),
        ("Exists", [], {}, False),
        ("DoesNotExist", [], {}, True),
        ("DoesNotExist", None, {"k": "x"}, False),
    ],
)
def test_expressions(operator, values, found, matches):
    selector = {"matchExpressions": [{"key": "k", "operator": operator, "values": values}]}
    assert labels.matcher(selector)(found) is matches


@pytest.mark.parametrize(
    ("selector", "reason"),
    [
        ({"matchLabel": {}}, "unknown field 'matchLabel'"),
        ({"matchLabels": ["a"]}, "must be a map"),
        ({"matchLabels": {"-bad": "x"}}, "not a valid label key"),
        ({"matchLabels": {"Bad_Prefix!/x": "x"}}, "not a valid label key"),
        ({"matchLabels": {"a": "not valid"}}, "not a valid label value"),
        ({"matchLabels": {"a": 1}}, "must map text to text"),
        (
            {"matchExpressions": [{"key": "a", "operator": "Equals", "values": ["x"]}]},
            "not a valid label selector operator",
        ),
        ({"matchExpressions": [{"key": "a", "operator": "In"}]}, "values must be given"),
        ({"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["x"]}]}, "values must be empty"),
        ({"matchExpressions": ["a"]}, "must be a map"),
        ({"matchExpressions": [{"operator": "Exists"}]}, "not a valid label key"),
    ],
)
def test_what_no_api_server_would_accept_is_refused(selector, reason):
    with pytest.raises(ValueError, match=reason):
        labels.matcher(selector)


_TABLES = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("xyz"), max_size=4)


@given(_TABLES, _TABLES)
def test_match_labels_mean_a_subset(wanted, found):
    assert labels.matcher({"matchLabels": wanted})(found) == (wanted.items() <= found.items())


@given(_TABLES, st.sampled_from("abcd"), st.lists(st.sampled_from("xyz"), min_size=1))
def test_not_in_is_the_opposite_of_in(found, key, values):
    chosen = labels.matcher({"matchExpressions": [{"key": key, "operator": "In", "values": values}]})
    others = labels.matcher({"matchExpressions": [{"key": key, "operator": "NotIn", "values": values}]})
    assert chosen(found) is not others(found)
