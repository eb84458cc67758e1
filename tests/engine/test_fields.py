"""Reading a policy field by field."""

import pytest

from kymograph.engine import errors, fields


def read(document, known=("name", "on", "count", "list", "table"), refused=None):
    problems = fields.Problems()
    return fields.Fields(document, "spec", problems, known, refused), problems


def reasons(problems):
    return [str(problem) for problem in problems]


def test_an_unknown_field_is_named_with_the_nearest_known_one():
    _, problems = read({"nmae": "x", "zzz": 1})
    assert reasons(problems) == ["spec.nmae: unknown field; did you mean 'name'?", "spec.zzz: unknown field"]


def test_a_field_that_is_not_implemented_is_refused_by_name():
    _, problems = read({"cel": {}}, refused={"cel": "validate.cel is"})
    assert reasons(problems) == ["spec.cel: validate.cel is not supported by this version of Kymograph"]


@pytest.mark.parametrize(
    ("value", "getter", "reason"),
    [
        (1, lambda found: found.text("name"), "spec.name: must be a string, not a number"),
        ("yes", lambda found: found.boolean("name", default=True), "spec.name: must be true or false, not a string"),
        ({}, lambda found: found.texts("name"), "spec.name: must be a list, not an object"),
        (["a", 1], lambda found: found.texts("name"), "spec.name[1]: must be a string, not a number"),
        (["c"], lambda found: found.texts("name", among=("a", "b")), "spec.name[0]: 'c' is not one of a, b"),
        ("c", lambda found: found.text("name", among=("a", "b")), "spec.name: 'c' is not one of a, b"),
        ({"a": None}, lambda found: found.table("name"), "spec.name[a]: must be a string, not null"),
        (True, lambda found: found.integer("name", 1, 2, "x"), "spec.name: must be an integer, not a boolean"),
        (3, lambda found: found.integer("name", 1, 2, "between 1 and 2"), "spec.name: between 1 and 2"),
        ("x", lambda found: found.items("name"), "spec.name: must be a list, not a string"),
    ],
)
def test_a_value_of_the_wrong_kind_is_noted(value, getter, reason):
    found, problems = read({"name": value})
    getter(found)
    assert reasons(problems) == [reason]


def test_null_is_absent():
    found, problems = read({"name": None, "on": None, "count": None, "list": None, "table": None})
    assert "name" not in found
    assert found.text("name", "default") == "default"
    assert found.boolean("on", default=True) is True
    assert found.integer("count", 1, 2, "") is None
    assert found.texts("list") == ()
    assert found.table("table") == {}
    assert reasons(problems) == []


def test_what_is_no_object_reads_as_an_empty_one():
    found, problems = read([])
    assert found.text("name") == ""
    assert reasons(problems) == ["spec: must be an object, not a list"]


def test_problems_are_raised_all_at_once_and_once_each():
    _, problems = read({"a": 1, "b": 2})
    problems.add("spec.a", "unknown field")
    with pytest.raises(errors.PolicyInvalid) as raised:
        problems.raise_if_any()
    assert [problem.path for problem in raised.value.problems] == ["spec.a", "spec.b"]
