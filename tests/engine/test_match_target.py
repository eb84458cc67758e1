"""What filters see of objects whose metadata is not what an API server would let through."""

import pytest

from kymograph.engine.match import target


def seen(**metadata):
    return target.of({"metadata": metadata}, ("", "v1", "Pod", ""), "CREATE", "", {}, None)


@pytest.mark.parametrize("field", ["labels", "annotations"])
@pytest.mark.parametrize("table", [None, [], "x", {"a": 1}, {"a": "b", "c": None}, {"a": {}}])
def test_a_map_that_holds_anything_but_text_counts_as_empty(field, table):
    assert getattr(seen(**{field: table}), field) == {}


def test_a_map_of_texts_is_seen_as_it_is():
    assert seen(labels={"a": "b"}).labels == {"a": "b"}


@pytest.mark.parametrize("name", [None, 1, ["web"], {}])
def test_a_name_that_is_no_text_counts_as_absent(name):
    made = seen(name=name, generateName="web-", namespace=name)
    assert (made.name, made.namespace) == ("web-", "")
