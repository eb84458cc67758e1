"""Overlay patterns: anchors, lists, the order that decides which path a failure names, messages, variables.

The tables were checked against Kyverno's own pattern engine.
"""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kymograph.engine import budget, errors, pattern

POD = {
    "metadata": {"name": "web", "labels": {"app": "web", "team/owner": "a"}, "annotations": {"x.io/seccomp": "on"}},
    "spec": {
        "hostNetwork": False,
        "replicas": 3,
        "ratio": 0.5,
        "nothing": None,
        "args": ["a", "b"],
        "containers": [
            {"name": "a", "image": "nginx:1", "cpu": "100m", "ports": [80, 443]},
            {"name": "b", "image": "httpd:latest", "memory": "1Gi"},
        ],
        "volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "hostPath": {"path": "/"}}],
        "matrix": [["a", "b"], ["c"]],
    },
}


GO_MAP = "map[string]interface {}"


def check(document: object, resource: object = POD, context: object = None) -> pattern.Outcome:
    return pattern.compile(document, "spec.rules[0].validate.pattern").check(resource, context or {}, budget.Budget())


@pytest.mark.parametrize(
    ("document", "status", "path"),
    [
        # plain keys and scalars
        ({"metadata": {"name": "web"}}, "pass", ""),
        ({"metadata": {"name": "w?b"}}, "pass", ""),
        ({"metadata": {"name": "db"}}, "fail", "/metadata/name/"),
        ({"metadata": {"gone": "x"}}, "fail", "/metadata/gone/"),
        ({"metadata": {"gone": "*"}}, "fail", "/metadata/"),
        ({"metadata": {"name": "*"}}, "pass", ""),
        ({"spec": {"nothing": "*"}}, "fail", "/spec/"),
        ({"spec": {"nothing": None}}, "pass", ""),
        ({"spec": {"gone": None}}, "pass", ""),
        ({"spec": {"hostNetwork": None}}, "pass", ""),
        ({"spec": {"replicas": None}}, "fail", "/spec/replicas/"),
        ({"spec": {"hostNetwork": False}}, "pass", ""),
        ({"spec": {"hostNetwork": True}}, "fail", "/spec/hostNetwork/"),
        ({"spec": {"hostNetwork": "false"}}, "pass", ""),
        ({"spec": {"replicas": False}}, "fail", "/spec/replicas/"),
        ({"spec": {"replicas": 3}}, "pass", ""),
        ({"spec": {"replicas": 3.0}}, "pass", ""),
        ({"spec": {"replicas": 3.5}}, "fail", "/spec/replicas/"),
        ({"spec": {"ratio": 0.5}}, "pass", ""),
        ({"spec": {"ratio": 1}}, "fail", "/spec/ratio/"),
        ({"metadata": {"name": 5}}, "fail", "/metadata/name/"),
        ({"metadata": {"name": {"x": "y"}}}, "fail", "/metadata/name/"),
        ({"metadata": "x"}, "fail", "/metadata/"),
        ({"gone": {"x": "y"}}, "fail", "/gone/"),
        # lists
        ({"spec": {"containers": [{"name": "?"}]}}, "pass", ""),
        ({"spec": {"containers": [{"image": "!*:latest"}]}}, "fail", "/spec/containers/1/image/"),
        ({"spec": {"containers": [{"cpu": "?*"}]}}, "fail", "/spec/containers/1/cpu/"),
        ({"spec": {"args": ["a | b"]}}, "pass", ""),
        ({"spec": {"args": ["a"]}}, "fail", "/spec/args/"),
        ({"spec": {"args": "?"}}, "pass", ""),
        ({"spec": {"args": "a"}}, "fail", "/spec/args/"),
        ({"spec": {"containers": [{"ports": [80]}]}}, "fail", "/spec/containers/0/ports/"),
        ({"spec": {"gone": [{"a": "b"}]}}, "fail", "/spec/gone/"),
        ({"spec": {"gone": ["a"]}}, "fail", "/spec/gone/"),
        ({"spec": {"args": []}}, "fail", "/spec/args/"),
        ({"spec": {"matrix": [["a | b"], ["c"]]}}, "pass", ""),
        ({"spec": {"matrix": [["a | b"], ["d"]]}}, "fail", "/spec/matrix/1/"),
        ({"spec": {"matrix": [["a"], ["b"], ["c"]]}}, "error", ""),
        # equality
        ({"spec": {"=(gone)": "x"}}, "pass", ""),
        ({"spec": {"=(replicas)": ">2"}}, "pass", ""),
        ({"spec": {"=(replicas)": ">3"}}, "fail", "/spec/replicas/"),
        ({"spec": {"containers": [{"=(cpu)": "<=100m", "=(memory)": "<=1Gi"}]}}, "pass", ""),
        # negation
        ({"spec": {"X(gone)": "null"}}, "pass", ""),
        ({"spec": {"X(replicas)": "null"}}, "fail", "/spec/replicas/"),
        ({"spec": {"=(volumes)": [{"X(hostPath)": "null"}]}}, "fail", "/spec/volumes/1/hostPath/"),
        # condition
        ({"spec": {"(hostNetwork)": False, "replicas": 3}}, "pass", ""),
        ({"spec": {"(hostNetwork)": True, "replicas": 99}}, "skip", ""),
        ({"spec": {"(gone)": "x", "replicas": 99}}, "skip", ""),
        ({"spec": {"(hostNetwork)": False, "replicas": 99}}, "fail", "/spec/replicas/"),
        ({"spec": {"containers": [{"(image)": "nginx*", "cpu": "?*"}]}}, "pass", ""),
        ({"spec": {"containers": [{"(image)": "httpd*", "cpu": "?*"}]}}, "fail", "/spec/containers/1/cpu/"),
        ({"spec": {"containers": [{"(image)": "mysql*", "cpu": "?*"}]}}, "skip", ""),
        ({"spec": {"(gone)": "x", "X(replicas)": "null"}}, "skip", ""),
        # existence
        ({"spec": {"^(containers)": [{"name": "b"}]}}, "pass", ""),
        ({"spec": {"^(containers)": [{"name": "c"}]}}, "fail", "/spec/containers/"),
        ({"spec": {"^(containers)": [{"name": "a"}, {"name": "b"}]}}, "pass", ""),
        ({"spec": {"^(containers)": [{"name": "a"}, {"name": "c"}]}}, "fail", "/spec/containers/"),
        ({"spec": {"^(gone)": [{"name": "a"}]}}, "pass", ""),
        ({"spec": {"^(replicas)": [{"name": "a"}]}}, "fail", "/spec/replicas/"),
        # global
        ({"spec": {"<(hostNetwork)": True, "replicas": 99}}, "skip", ""),
        ({"spec": {"<(hostNetwork)": False, "replicas": 3}}, "pass", ""),
        ({"spec": {"<(gone)": "x", "replicas": 3}}, "pass", ""),
        ({"spec": {"containers": [{"<(image)": "mysql*"}], "replicas": 99}}, "skip", ""),
        # a failure is an error when an anchor met its key nowhere
        ({"metadata": {"name": "db"}, "spec": {"containers": [{"(tty)": True}]}}, "skip", ""),
        ({"spec": {"containers": [{"ports": "99", "=(env)": [{"(name)": "x"}]}]}}, "fail", "/spec/containers/0/ports/"),
        ({"spec": {"^(initContainers)": [{"image": "x"}], "replicas": 99}}, "error", ""),
        ({"spec": {"X(gone)": "null", "replicas": 99}}, "fail", "/spec/replicas/"),
        # which of two failures is named: anchors below come first, the last of them first, then the keys in order
        ({"spec": {"args": "z", "replicas": 99}}, "fail", "/spec/args/"),
        ({"spec": {"args": "z", "volumes": [{"X(hostPath)": "null"}]}}, "fail", "/spec/volumes/1/hostPath/"),
        (
            {"spec": {"containers": [{"=(cpu)": "1"}], "volumes": [{"X(hostPath)": "null"}]}},
            "fail",
            "/spec/volumes/1/hostPath/",
        ),
        # wildcards in the keys of labels and annotations
        ({"metadata": {"labels": {"team/*": "?*"}}}, "pass", ""),
        ({"metadata": {"labels": {"team/*": "b"}}}, "fail", "/metadata/labels/team/owner/"),
        ({"metadata": {"labels": {"nobody/*": "?*"}}}, "fail", "/metadata/labels/nobody/*/"),
        ({"metadata": {"=(annotations)": {"=(*/seccomp)": "off"}}}, "fail", "/metadata/annotations/x.io/seccomp/"),
        ({"metadata": {"annotations": {"X(*/seccomp)": "null"}}}, "fail", "/metadata/annotations/x.io/seccomp/"),
        ({"metadata": {"labels": {"ap?": "*"}}}, "pass", ""),
        ({"spec": {"re*": 3}}, "fail", "/spec/re*/"),
    ],
)
def test_outcomes(document: object, status: str, path: str) -> None:
    outcome = check(document)
    assert (outcome.status, outcome.path) == (status, path), outcome.message
    assert bool(outcome.message) is (status != "pass")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"metadata": {"name": "db"}}, "resource value 'web' does not match 'db' at path /metadata/name/"),
        ({"spec": {"args": "a"}}, "resource value '[a b]' does not match 'a' at path /spec/args/"),
        ({"spec": {"nothing": "x"}}, "resource value '<nil>' does not match 'x' at path /spec/nothing/"),
        ({"metadata": {"gone": "*"}}, "/metadata//gone not found"),
        (
            {"metadata": {"name": {"x": "y"}}},
            f"pattern and resource have different structures. Path: /metadata/name/. Expected {GO_MAP}, found string",
        ),
        ({"spec": {"X(replicas)": "null"}}, "negation anchor matched in resource: /spec/replicas/ is not allowed"),
        (
            {"spec": {"(replicas)": 4}},
            "conditional anchor mismatch: resource value '3' does not match '4' at path /spec/replicas/",
        ),
        (
            {"spec": {"(gone)": 4}},
            "conditional anchor mismatch: conditional anchor key doesn't exist in the resource",
        ),
        (
            {"spec": {"<(replicas)": 4}},
            "global anchor mismatch: resource value '3' does not match '4' at path /spec/replicas/",
        ),
        (
            {"spec": {"containers": [{"(name)": "c"}]}},
            "; ".join(
                f"conditional anchor mismatch: resource value '{name}' does not match 'c' at path {at}"
                for name, at in (("a", "/spec/containers/0/name/"), ("b", "/spec/containers/1/name/"))
            ),
        ),
        ({"spec": {"^(containers)": [{"name": "c"}]}}, "existence anchor validation failed at path /spec/containers/"),
    ],
)
def test_messages(document: object, message: str) -> None:
    assert check(document).message == message


@pytest.mark.parametrize(
    ("document", "path", "reason"),
    [
        ({"metadata": {"+(name)": "x"}}, "metadata.+(name)", "only mutation"),
        ({"spec": {"^(containers)": {"name": "x"}}}, "spec.^(containers)", "list of maps"),
        ({"spec": {"^(containers)": ["x"]}}, "spec.^(containers)", "list of maps"),
        ({"spec": [{"a": "{{ foo(@) }}"}]}, "spec[0].a", "there is no function foo()"),
    ],
)
def test_what_cannot_be_is_refused_when_compiled(document: object, path: str, reason: str) -> None:
    with pytest.raises(errors.PolicyInvalid) as refused:
        pattern.compile(document, "p")
    assert [problem.path for problem in refused.value.problems] == [f"p.{path}"]
    assert reason in str(refused.value)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(errors.PolicyInvalid) as refused:
        pattern.compile({"+(a)": "x", "b": {"^(c)": "y"}}, "p")
    assert {problem.path for problem in refused.value.problems} == {"p.+(a)", "p.b.^(c)"}


def test_variables_are_resolved_for_each_request() -> None:
    compiled = pattern.compile({"metadata": {"name": "{{ allowed }}"}}, "p")
    assert compiled.expressions == ("allowed",)
    purse = budget.Budget()
    for allowed, status in (("web", "pass"), ("db", "fail"), ("w*", "pass"), ("!web", "fail"), ("web", "pass")):
        assert compiled.check(POD, {"allowed": allowed}, purse).status == status


def test_an_unresolved_variable_is_raised() -> None:
    with pytest.raises(errors.NotFoundInPath, match="failed to resolve gone at path /metadata/name"):
        check({"metadata": {"name": "{{ gone }}"}})


def test_a_pattern_that_turns_out_invalid_is_an_error() -> None:
    outcome = check({"spec": "{{ p }}"}, context={"p": {"+(x)": 1}})
    assert outcome.status == "error"
    assert "only mutation" in outcome.message


def test_resolved_forms_are_kept_in_bounds() -> None:
    compiled = pattern.compile({"metadata": {"name": "{{ allowed }}"}}, "p")
    for number in range(100):
        compiled.check(POD, {"allowed": f"n{number}"}, budget.Budget())
    assert len(compiled._resolved) <= 16


def test_the_resource_is_not_changed() -> None:
    before = copy.deepcopy(POD)
    check({"metadata": {"labels": {"te*": "x"}}, "spec": {"containers": [{"(name)": "a", "image": "x"}]}})
    assert before == POD


def test_elements_are_paid_for() -> None:
    compiled = pattern.compile({"items": [{"items": ["x"]}]}, "p")
    with pytest.raises(errors.BudgetExhausted):
        compiled.check({"items": [{"items": ["x"] * 1000}] * 1000}, {}, budget.Budget(steps=100_000))


def nested(levels: int, innermost: object) -> object:
    for _ in range(levels):
        innermost = {"a": innermost}
    return innermost


def test_a_pattern_that_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(errors.PolicyInvalid, match="p: nested too deeply"):
        pattern.compile(nested(2000, "x"), "p")


@pytest.mark.parametrize("value", [nested(5000, "x"), ["x" * 1_000_000], ["y"] * 100_000])
def test_a_value_that_cannot_be_written_still_fails(value: object) -> None:
    """Otherwise a hostile object would turn its denial into an error, which `failurePolicy: Ignore` lets pass."""
    purse = budget.Budget(size=100_000)
    outcome = pattern.compile({"a": "z"}, "p").check({"a": value}, {}, purse)
    assert (outcome.status, outcome.path) == ("fail", "/a/")
    assert len(outcome.message) < 1200


scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["x", "y", "a|b", "1h", "1Gi"])
resources = st.dictionaries(
    st.sampled_from(["a", "b", "metadata"]),
    st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
        max_leaves=6,
    ),
    max_size=3,
)


def as_equality(document: object) -> object:
    """The same pattern with every key made optional."""
    if isinstance(document, dict):
        return {f"=({key})": as_equality(value) for key, value in document.items()}
    return [as_equality(item) for item in document] if isinstance(document, list) else document


@given(resources, resources)
def test_optional_keys_never_fail_what_passes(document: dict[str, object], resource: dict[str, object]) -> None:
    if check(document, resource).status == "pass":
        assert check(as_equality(document), resource).status == "pass"


@given(resources, resources)
def test_a_pattern_out_of_the_context_means_the_same(document: dict[str, object], resource: dict[str, object]) -> None:
    direct = check(document, resource)
    dynamic = pattern.compile("{{ p }}", "p").check(resource, {"p": document}, budget.Budget())
    assert dynamic == direct
