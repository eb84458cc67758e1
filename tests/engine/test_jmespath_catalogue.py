"""The catalogue says of every function what it takes, gives and does."""

import pytest

from kymograph.engine.jmespath import functions


def test_holds_kyvernos_51_and_the_25_of_the_specification_that_kyverno_keeps() -> None:
    catalogue = functions.catalogue()
    assert [function.name for function in catalogue] == sorted(functions.TABLE)
    assert sum(not function.standard for function in catalogue) == 51
    assert sum(function.standard for function in catalogue) == 25


@pytest.mark.parametrize("function", functions.catalogue(), ids=lambda function: function.name)
def test_each_has_a_note_and_a_type_of_result(function: functions.Function) -> None:
    assert function.note
    assert not function.note.endswith(".")
    assert str(function.returns)


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("add", "add(any, any) -> any"),
        ("time_now", "time_now() -> string"),
        ("lookup", "lookup(object or array, string or number) -> any"),
        ("merge", "merge(object...) -> object"),
        ("map", "map(expref, array) -> array"),
    ],
)
def test_shows_a_signature(name: str, signature: str) -> None:
    assert str(functions.TABLE[name]) == signature
