"""The runner's own reading of chainsaw's assertions: a tree that is true of everything would make every case pass."""

import pytest

from conformance import assertions, cases, expressions

POD = {
    "metadata": {"name": "a", "labels": {"x": "1"}},
    "spec": {"containers": [{"name": "one", "ports": [80]}, {"name": "two"}]},
    "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]},
    "(odd)": 1,
}


def wrong(tree, actual=POD, **bindings):
    return list(assertions.mismatches(tree, actual, bindings))


@pytest.mark.parametrize(
    "tree",
    [
        {},
        {"metadata": {"labels": {"x": "1"}}},
        {"spec": {"(length(containers))": 2}},
        {"spec": {"(containers[?name == 'two'])": [{}]}},
        {"status": {"(conditions[?type == 'Ready'])": [{"status": "True"}]}},
        {"spec": {"~.containers": {"(length(name) == `3`)": True}}},
        {"spec": {"~n.containers": {"($n < `2`)": True}}},
        {"spec": {"containers->all": [{"(length($all))": 2}, {}]}},
        {"spec": {"(containers[0].ports)->p": ["($p[0])"]}},
        {"metadata": {"name": "(@)"}},
        {"metadata": {"name": "($name)"}},
        {"(metadata.missing)": None},
        {"(missing.deeper == null)": True},
        {"\\(odd)\\": 1},
    ],
)
def test_what_holds(tree) -> None:
    """A map asks for its keys and no others."""
    assert wrong(tree, name="a") == []


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ({"metadata": {"name": "b"}}, "metadata.name: expected 'b', found 'a'"),
        ({"metadata": {"annotations": {}}}, "metadata.annotations: not there"),
        ({"metadata": {"labels": {"x": 1}}}, "metadata.labels.x: expected 1, found '1'"),
        ({"spec": {"containers": [{"name": "one"}]}}, "spec.containers: expected 1 elements, found 2"),
        ({"spec": {"~.containers": {"name": "one"}}}, "spec.containers[1].name: expected 'one', found 'two'"),
        ({"(length(spec.containers) > `2`)": True}, "(length(spec.containers) > `2`): expected True, found False"),
        ({"spec": {"containers": {}}}, ""),
        ({"metadata": "a"}, "metadata: expected 'a', found {"),
        ({"spec": []}, "spec: expected a list, found {"),
    ],
)
def test_what_does_not_hold_is_told_with_its_path(tree, told) -> None:
    found = wrong(tree)
    assert found == [] if not told else found[0].startswith(told)


@pytest.mark.parametrize("wanted", [True, 1, "True"])
def test_true_is_neither_one_nor_text(wanted) -> None:
    """YAML tells them apart, and so do fields of Kubernetes' objects."""
    assert bool(wrong({"a": wanted}, {"a": True})) == (wanted is not True)


def test_names_in_quotes_are_no_bindings() -> None:
    """`$error` in a message is text."""
    assert expressions.evaluate("contains('costs $error', $error)", None, {"error": "$error"}) is True
    assert expressions.evaluate("$a.b[0]", None, {"a": {"b": ["`quoted`"]}}) == "`quoted`"
    assert expressions.evaluate("trim_space($out)", None, {"out": " x \n"}) == "x"


def test_what_nothing_is_bound_to_is_an_error() -> None:
    """An assertion on a slip of the pen must not hold."""
    with pytest.raises(expressions.ExpressionFailed, match="nothing is bound to \\$eror"):
        wrong({"($eror == null)": True})


def test_a_template_is_filled_where_it_holds_expressions() -> None:
    """Keys, and text in parentheses that is none, stay."""
    template = {"(image)": "($a)", "list": ["(join('-', [$a, 'b']))", "(.+)"], "plain": "(a) (b", "n": 1}
    assert expressions.filled(template, {"a": "x"}) == {
        "(image)": "x",
        "list": ["x-b", "(.+)"],
        "plain": "(a) (b",
        "n": 1,
    }


def write(folder, name, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def test_timeouts_come_from_the_nearest_configuration(tmp_path) -> None:
    """Then from the test, then from the step."""
    write(tmp_path, ".chainsaw.yaml", "spec: {timeouts: {assert: 2m, apply: 7s}}")
    manifest = (
        "kind: Test\nmetadata: {name: t}\nspec: {timeouts: {apply: 9s}, steps: [{timeouts: {apply: 1s}, try: []}]}"
    )
    write(tmp_path / "a" / "b", cases.MANIFEST, manifest)
    write(tmp_path / "_ignored", cases.MANIFEST, manifest)
    (found,) = cases.find(tmp_path, tmp_path)
    case = cases.read(found, tmp_path)
    assert (case.path, case.timeouts["assert"], case.timeouts["apply"]) == ("a/b", 120, 9)
    assert case.steps[0].timeouts == {"apply": 1}


def test_a_step_template_is_put_in_place(tmp_path) -> None:
    """The folder's own before ours of the same name; one that neither has is an error."""
    step = "{use: {template: ../t/create-policy.yaml, with: {bindings: [{name: file, value: p.yaml}]}}}"
    write(tmp_path / "c", cases.MANIFEST, f"kind: Test\nmetadata: {{name: t}}\nspec: {{steps: [{step}]}}")
    (read,) = cases.read(tmp_path / "c" / cases.MANIFEST, tmp_path).steps
    assert read.operations["try"] == [{"create": {"file": "($file)"}}]
    assert cases.bound(read.bindings, {}) == {"file": "p.yaml"}
    write(tmp_path / "t", "create-policy.yaml", "spec: {try: [{sleep: {duration: 1s}}]}")
    (read,) = cases.read(tmp_path / "c" / cases.MANIFEST, tmp_path).steps
    assert read.operations["try"] == [{"sleep": {"duration": "1s"}}]
    write(tmp_path / "c", cases.MANIFEST, "kind: Test\nspec: {steps: [{use: {template: nowhere.yaml}}]}")
    with pytest.raises(cases.CaseInvalid, match=r"no step template nowhere\.yaml"):
        cases.read(tmp_path / "c" / cases.MANIFEST, tmp_path)
