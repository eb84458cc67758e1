"""JSON Patch as RFC 6902 has it and evanphx/json-patch reads it; patches that are made are small and right."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kymograph.apimachinery import jsonpatch

DOCUMENT = {"a": {"b": [1, 2, 3]}, "x/y": 1, "m~n": 2, "null": None}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab/~", max_size=2),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab/~", max_size=2), inner, max_size=4),
    max_leaves=25,
)
OBJECTS = st.dictionaries(st.text("ab/~", max_size=2), JSON, max_size=4)


@pytest.mark.parametrize(
    ("operation", "changed"),
    [
        ({"op": "add", "path": "/a/c", "value": 1}, {"a": {"b": [1, 2, 3], "c": 1}}),
        ({"op": "add", "path": "/a/b/-", "value": 4}, {"a": {"b": [1, 2, 3, 4]}}),
        ({"op": "add", "path": "/a/b/1", "value": 9}, {"a": {"b": [1, 9, 2, 3]}}),
        ({"op": "add", "path": "/a/b/3", "value": 9}, {"a": {"b": [1, 2, 3, 9]}}),
        ({"op": "add", "path": "/a/b/-1", "value": 9}, {"a": {"b": [1, 2, 3, 9]}}),
        ({"op": "add", "path": "/a", "value": None}, {"a": None}),
        ({"op": "remove", "path": "/a/b/0"}, {"a": {"b": [2, 3]}}),
        ({"op": "remove", "path": "/a/b/-1"}, {"a": {"b": [1, 2]}}),
        ({"op": "remove", "path": "/a/b"}, {"a": {}}),
        ({"op": "replace", "path": "/a/b/2", "value": {}}, {"a": {"b": [1, 2, {}]}}),
        ({"op": "replace", "path": "/x~1y", "value": 5}, {"x/y": 5}),
        ({"op": "replace", "path": "/m~0n", "value": 5}, {"m~n": 5}),
        ({"op": "replace", "path": "/null", "value": 5}, {"null": 5}),
        ({"op": "move", "from": "/a/b/0", "path": "/a/b/2"}, {"a": {"b": [2, 3, 1]}}),
        ({"op": "copy", "from": "/a/b", "path": "/c"}, {"c": [1, 2, 3]}),
        ({"op": "test", "path": "/a/b/0", "value": 1}, {}),
        ({"op": "test", "path": "/nothing"}, {}),
    ],
)
def test_an_operation_changes_what_its_path_names(operation, changed):
    before = copy.deepcopy(DOCUMENT)

    assert jsonpatch.apply(DOCUMENT, [operation]) == {**DOCUMENT, **changed}
    assert before == DOCUMENT


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (
            {"op": "add", "path": "/no/such", "value": 1},
            'add operation does not apply: doc is missing path: "/no/such": missing value',
        ),
        (
            {"op": "add", "path": "/a/b/9", "value": 1},
            "error in add for path: '/a/b/9': Unable to access invalid index: 9: invalid index referenced",
        ),
        (
            {"op": "add", "path": "/a/b/c", "value": 1},
            (
                "error in add for path: '/a/b/c': value was not a proper array index: 'c': "
                'strconv.Atoi: parsing "c": invalid syntax'
            ),
        ),
        (
            {"op": "remove", "path": "/no"},
            "error in remove for path: '/no': unable to remove nonexistent key: no: missing value",
        ),
        (
            {"op": "remove", "path": "/no/such"},
            'remove operation does not apply: doc is missing path: "/no/such": missing value',
        ),
        (
            {"op": "replace", "path": "/no", "value": 1},
            "replace operation does not apply: doc is missing key: /no: missing value",
        ),
        ({"op": "test", "path": "/x~1y", "value": "1"}, "testing value /x~1y failed: test failed"),
        ({"op": "test", "path": "/x~1y", "value": True}, "testing value /x~1y failed: test failed"),
        (
            {"op": "move", "from": "/no", "path": "/a"},
            "error in move for path: 'no': unable to get nonexistent key: no: missing value",
        ),
        (
            {"op": "move", "from": "", "path": "/a"},
            "unable to move entire document to another path: invalid state detected",
        ),
        (
            {"op": "copy", "from": "/no/such", "path": "/a"},
            'copy operation does not apply: doc is missing from path: "/no/such": missing value',
        ),
    ],
)
def test_what_does_not_apply_says_why(operation, reason):
    with pytest.raises(jsonpatch.PatchFailed) as failed:
        jsonpatch.apply(DOCUMENT, [operation])
    assert str(failed.value) == reason


@pytest.mark.parametrize(
    ("operation", "changed"),
    [
        ({"op": "remove", "path": "/no"}, {}),
        ({"op": "remove", "path": "/no/such"}, {}),
        ({"op": "remove", "path": "/a/b/9"}, {}),
        ({"op": "add", "path": "/n/e/w", "value": 1}, {"n": {"e": {"w": 1}}}),
        ({"op": "add", "path": "/null/w", "value": 1}, {"null": {"w": 1}}),
        ({"op": "add", "path": "/n/-", "value": 1}, {"n": [1]}),
        ({"op": "add", "path": "/n/0/w", "value": 1}, {"n": [{"w": 1}]}),
        ({"op": "add", "path": "/n/2/w", "value": 1}, {"n": [None, None, {"w": 1}]}),
        ({"op": "add", "path": "/a/b/5/w", "value": 1}, {"a": {"b": [1, 2, 3, None, None, {"w": 1}]}}),
    ],
)
def test_leniently_parents_are_created_and_what_is_missing_is_removed(operation, changed):
    assert jsonpatch.apply(DOCUMENT, [operation], jsonpatch.LENIENT) == {**DOCUMENT, **changed}


def test_without_negative_indices_a_list_is_counted_from_its_beginning_only():
    with pytest.raises(jsonpatch.PatchFailed, match="invalid index: -1"):
        jsonpatch.apply(DOCUMENT, [{"op": "remove", "path": "/a/b/-1"}], jsonpatch.Options(negative_indices=False))


@pytest.mark.parametrize(
    "operations",
    [
        [{"op": "add", "path": "/n/999999/w", "value": 1}],
        [{"op": "add", "path": "/n", "value": [[[]]]}, *[{"op": "copy", "from": "", "path": "/n/-"}] * 40],
    ],
)
def test_a_patch_cannot_fill_the_memory(operations):
    with pytest.raises(jsonpatch.PatchFailed, match="limit"):
        jsonpatch.apply(DOCUMENT, operations, jsonpatch.LENIENT)


@pytest.mark.parametrize(
    ("operations", "reason"),
    [
        ({}, "list of operations"),
        (["x"], "op and path"),
        ([{"op": "set", "path": "/a"}], 'invalid operation {"op":"set","path":"/a"}: unsupported operation'),
        ([{"op": "add", "path": "/a"}], "failed to decode 'value'"),
        ([{"op": "move", "path": "/a"}], "failed to decode 'from'"),
        ([{"op": "remove"}], "failed to decode 'path'"),
    ],
)
def test_a_patch_is_a_list_of_whole_operations(operations, reason):
    with pytest.raises(jsonpatch.PatchFailed) as failed:
        jsonpatch.check(operations)
    assert reason in str(failed.value)


@pytest.mark.parametrize(
    ("old", "new", "operations"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": True}, [{"op": "replace", "path": "/a", "value": True}]),
        ({"a": 1}, {"b": 1}, [{"op": "remove", "path": "/a"}, {"op": "add", "path": "/b", "value": 1}]),
        ({}, {"a/b~c": 1}, [{"op": "add", "path": "/a~1b~0c", "value": 1}]),
        ({"a": [1, 2]}, {"a": [0, 1, 2]}, [{"op": "add", "path": "/a/0", "value": 0}]),
        ({"a": [1, 2, 3]}, {"a": [1, 3]}, [{"op": "remove", "path": "/a/1"}]),
        ({"a": [{"x": 1}, 2]}, {"a": [{"x": 2}, 2]}, [{"op": "replace", "path": "/a/0/x", "value": 2}]),
        ({"a": [1, 2]}, {"a": []}, [{"op": "remove", "path": "/a/1"}, {"op": "remove", "path": "/a/0"}]),
    ],
)
def test_a_made_patch_names_only_what_differs(old, new, operations):
    assert jsonpatch.make(old, new) == operations


@given(OBJECTS, OBJECTS)
def test_a_made_patch_turns_the_one_into_the_other(old, new):
    operations = jsonpatch.make(old, new)

    jsonpatch.check(operations)
    assert jsonpatch.same(jsonpatch.apply(old, operations), new)


@given(OBJECTS, JSON)
def test_what_is_not_touched_is_shared(document, value):
    changed = jsonpatch.apply(document, [{"op": "add", "path": "/new", "value": value}])

    assert changed["new"] is value
    assert all(changed[key] is item for key, item in document.items() if key != "new")


@given(st.text(max_size=6))
def test_a_key_is_escaped_as_a_pointer_reads_it(key):
    assert jsonpatch.parts(f"/{jsonpatch.escape(key)}") == [key]
