"""`{{ ... }}` in documents: typed values, splices, nesting, escapes, DELETE, and what text out of objects can do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kymograph.engine import budget, errors, variables

OBJECT = {
    "metadata": {
        "name": "web",
        "annotations": {
            "which": "metadata",
            "injected": "{{ request.operation }}",
            "whole": "{{ request.object.spec.count }}",
            "itself": "x{{ request.object.metadata.annotations.itself }}",
            "twice": "{{ request.object.metadata.annotations.twice }} {{ request.object.metadata.annotations.twice }}",
            "broken": "{{ foo(@) }}",
        },
    },
    "spec": {"count": 3, "ratio": 1.0, "containers": [{"name": "a", "image": "nginx"}], "on": True, "nothing": None},
}


def context(operation: str = "CREATE") -> dict[str, object]:
    return {
        "request": {"operation": operation, "object": OBJECT, "oldObject": {"metadata": {"name": "old"}}},
        "element": {"name": "a"},
    }


def resolve(document: object, operation: str = "CREATE") -> object:
    return variables.compile(document, "spec").resolve(context(operation), budget.Budget())


@pytest.mark.parametrize(
    ("document", "result"),
    [
        ("{{request.object.metadata.name}}", "web"),
        ("{{ request.object.spec.count }}", 3),
        ("{{ request.object.spec.nothing }}", None),
        ("{{ request.object.spec.on }}", True),
        ("{{ element }}", {"name": "a"}),
        ("{{ request.object.spec.containers[].image }}", ["nginx"]),
        ("{{ {a: request.operation} }}", {"a": "CREATE"}),
        ("{{ request.object.nope || 'none' }}", "none"),
        ("in {{request.object.metadata.name}}!", "in web!"),
        ("{{ request.operation }}-{{ request.object.spec.count }}", "CREATE-3"),
        ("{{request.operation}}{{request.operation}}", "CREATECREATE"),
        ("on={{ request.object.spec.on }}", "on=true"),
        ("ratio={{ request.object.spec.ratio }}", "ratio=1"),
        ("nothing={{ request.object.spec.nothing }}", "nothing=null"),
        ("e={{ element }}", 'e={"name":"a"}'),
        ("x {{ {a: request.operation} }}", 'x {"a":"CREATE"}'),
        ("{{ request.object.{{ request.object.metadata.annotations.which }}.name }}", "web"),
        ("is {{ request.object.{{request.object.metadata.annotations.which}}.name }}", "is web"),
        ("\\{{ request.operation }}", "{{ request.operation }}"),
        ("\\{{ x }} {{ request.operation }}", "{{ x }} CREATE"),
        ("{{", "{{"),
        ("{{ a } }}", "{{ a } }}"),
        ("no variables", "no variables"),
        ("\\$(literal)", "$(literal)"),
        (["{{ element.name }}", {"k": "{{ element }}"}], ["a", {"k": {"name": "a"}}]),
        ({"{{ element.name }}-x": {"y": ["{{ request.object.spec.count }}"]}}, {"a-x": {"y": [3]}}),
        (
            {"spec": {"containers": [{"(name)": "is {{@}}", "image": "{{ @ }}"}]}},
            {"spec": {"containers": [{"(name)": "is a", "image": "nginx"}]}},
        ),
        (5, 5),
        (None, None),
    ],
)
def test_resolves(document: object, result: object) -> None:
    assert resolve(document) == result


def test_a_deletion_looks_at_the_old_object() -> None:
    document = [
        "{{ request.object.metadata.name }}",
        "is {{ request.object.metadata.name }}",
        "{{ request.operation }}",
    ]
    assert resolve(document, "DELETE") == ["old", "is old", "DELETE"]
    assert resolve({"metadata": {"name": "{{@}}"}}, "DELETE") == {"metadata": {"name": "old"}}
    assert resolve("{{ request.object.{{ 'metadata' }}.name }}", "DELETE") == "old"


def test_the_target_is_what_at_means_where_there_is_one() -> None:
    template = variables.compile({"metadata": {"name": "{{@}}"}}, "spec")
    given_target = {**context(), "target": {"metadata": {"name": "other"}}}
    assert template.resolve(given_target, budget.Budget()) == {"metadata": {"name": "other"}}


def test_a_document_without_variables_is_static_and_not_copied() -> None:
    document = {"a": ["x", {"b": 1}], "c": None}
    template = variables.compile(document, "spec")
    assert template.static
    assert template.resolve({}, budget.Budget(steps=0)) is document
    assert template.expressions == ()


def test_the_document_and_the_context_are_never_changed() -> None:
    document = {"a": ["{{ element }}"], "b": {"c": "x"}}
    template = variables.compile(document, "spec")
    first = template.resolve(context(), budget.Budget())
    assert document == {"a": ["{{ element }}"], "b": {"c": "x"}}
    assert first is not template.resolve(context(), budget.Budget())


def test_expressions_that_are_known_are_listed() -> None:
    template = variables.compile(["{{ a.b }} {{ c || 'x' }}", {"{{d}}": "{{ e.{{ f }} }}"}], "spec")
    assert template.expressions == ("a.b", "c || 'x'", "d", "f")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{{ nope.x }}", 'failed to resolve nope.x at path : JMESPath query failed: Unknown key "nope" in path'),
        (
            {"s": {"a/b": ["-", "x {{ element.gone }}"]}},
            'failed to resolve element.gone at path /s/a\\/b/1: JMESPath query failed: Unknown key "gone" in path',
        ),
        (
            {"a": {"{{ nope }}": 1}},
            'failed to resolve nope at path /a: JMESPath query failed: Unknown key "nope" in path',
        ),
    ],
)
def test_a_missing_key_is_an_error_that_names_variable_and_place(document: object, message: str) -> None:
    with pytest.raises(errors.NotFoundInPath) as failed:
        resolve(document)
    assert str(failed.value) == message


def test_other_failures_name_variable_and_place_too() -> None:
    with pytest.raises(
        errors.EvaluationError, match=r"^failed to resolve length\(@\.x\.y\) at path /k: JMESPath query"
    ):
        variables.compile({"k": "{{ length(@.x.y) }}"}, "").resolve({"x": None}, budget.Budget())


def test_a_key_must_become_text() -> None:
    with pytest.raises(errors.EvaluationError, match="expected string after substituting variables in key"):
        resolve({"{{ element }}": 1})


def test_all_problems_of_a_document_are_told_at_once() -> None:
    document = {"a": "{{ foo(@) }}", "b": ["{{ x. }} and {{}}", "$(./../a)"]}
    with pytest.raises(errors.PolicyInvalid) as refused:
        variables.compile(document, "spec.rules[0].validate.message")
    assert [problem.path for problem in refused.value.problems] == [
        "spec.rules[0].validate.message.a",
        "spec.rules[0].validate.message.b[0]",
        "spec.rules[0].validate.message.b[0]",
        "spec.rules[0].validate.message.b[1]",
    ]


def test_spliced_text_of_an_object_is_looked_at_again() -> None:
    """As in Kyverno: an annotation holding a variable is evaluated when it is spliced."""
    assert resolve("got {{ request.object.metadata.annotations.injected }}") == "got CREATE"
    assert resolve("{{ request.object.metadata.annotations.injected }}") == "{{ request.operation }}"


def test_a_shallow_variable_is_not_looked_at_again() -> None:
    assert resolve("got {{- request.object.metadata.annotations.injected }}") == "got {{ request.operation }}"


@pytest.mark.parametrize("annotation", ["itself", "twice"])
def test_text_that_reproduces_itself_exhausts_the_budget(annotation: str) -> None:
    with pytest.raises(errors.BudgetExhausted):
        resolve(f"got {{{{ request.object.metadata.annotations.{annotation} }}}}")


def test_a_broken_expression_out_of_an_object_is_an_error_of_the_evaluation() -> None:
    with pytest.raises(errors.EvaluationError, match="there is no function foo"):
        resolve("got {{ request.object.metadata.annotations.broken }}")


def test_many_expressions_out_of_an_object_are_paid_for() -> None:
    text = " ".join(f"{{{{ a{index} || 'x' }}}}" for index in range(20_000))
    template = variables.compile("got {{ text }}", "spec")
    with pytest.raises(errors.BudgetExhausted):
        template.resolve({"text": text}, budget.Budget())


def test_a_document_that_is_nested_too_deeply_is_refused() -> None:
    deep: object = "{{ x }}"
    for _ in range(2000):
        deep = [deep]
    with pytest.raises(errors.PolicyInvalid, match="spec: nested too deeply"):
        variables.compile(deep, "spec")


@given(
    st.dictionaries(
        st.text(max_size=5), st.recursive(st.none() | st.integers() | st.text(max_size=8), st.lists, max_leaves=5)
    )
)
def test_values_come_through_unchanged(document: dict[str, object]) -> None:
    template = variables.compile(["{{ x }}"], "spec")
    assert template.resolve({"x": document}, budget.Budget()) == [document]


@given(st.text(alphabet="{}\\- ax.$()@", max_size=16))
def test_no_text_breaks_the_compiler(text: str) -> None:
    try:
        template = variables.compile(text, "spec")
    except errors.PolicyInvalid as refused:
        paths = {problem.path for problem in refused.problems}
    else:
        paths = {"spec"} if template.static or template.expressions else set()
    assert paths == {"spec"}
