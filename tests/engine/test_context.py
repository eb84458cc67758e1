"""Context entries: loaded when first named, in order, and never beyond what a policy may see."""

import pytest

from kymograph.engine import budget as budgets
from kymograph.engine import context, errors, fields, jmespath, needs, watching

REQUEST = {"request": {"operation": "CREATE", "object": {"metadata": {"name": "web", "namespace": "shop"}}}}
UNKNOWN = 'Unknown key "nosuch" in path'
UNRESOLVED = f"failed to resolve request.nosuch at path : JMESPath query failed: {UNKNOWN}"


def compiled(*entries, namespace=""):
    problems = fields.Problems()
    found = context.compile([(each, f"c[{n}]") for n, each in enumerate(entries)], problems, namespace=namespace)
    problems.raise_if_any()
    return found


def scope(*entries, known=None, namespace="", base=REQUEST, **limits):
    facts = needs.Facts()
    for need, value in (known or {}).items():
        if isinstance(value, str):
            facts.fail(need, value)
        else:
            facts.add(need, value)
    budget = budgets.Budget(facts=facts, **limits)
    return context.nested(base, {}, compiled(*entries, namespace=namespace), budget), budget


def search(text, *entries, **options):
    made, budget = scope(*entries, **options)
    return jmespath.compile(text).search(made, budget)


def variable(name, **described):
    return {"name": name, "variable": described}


@pytest.mark.parametrize(
    ("described", "found"),
    [
        ({"value": {"a": ["{{request.object.metadata.name}}"]}}, {"a": ["web"]}),
        ({"value": {"a": [1, 2]}, "jmesPath": "a[1]"}, 2),
        ({"value": {"a": 1}, "jmesPath": "b", "default": "d"}, "d"),
        ({"jmesPath": "request.object.metadata.name"}, "web"),
        ({"jmesPath": "request.object.{{ 'metadata' }}.name"}, "web"),
        ({"jmesPath": "request.object.spec.replicas", "default": "{{request.operation}}"}, "CREATE"),
        ({"jmesPath": "request.object.spec.replicas || `null`", "default": 0}, 0),
        ({"jmesPath": "request.object.metadata.nosuch.name", "default": False}, False),
    ],
)
def test_a_variable_is_a_value_or_a_search_or_a_default(described, found):
    assert search("v", variable("v", **described)) == found


@pytest.mark.parametrize(
    ("described", "reason"),
    [
        (
            {"jmesPath": "request.nosuch"},
            "failed to apply jmespath request.nosuch to variable <nil>: JMESPath query failed: " + UNKNOWN,
        ),
        (
            {"value": {"a": 1}, "jmesPath": "b"},
            'failed to apply jmespath b to variable <nil>: Unknown key "b" in path',
        ),
        (
            {"value": {"a": None}, "jmesPath": "a", "default": "d"},
            "failed to add context entry for variable v since it evaluated to nil",
        ),
        (
            {"value": "{{request.nosuch}}"},
            "failed to substitute variables in context entry v {{request.nosuch}}: " + UNRESOLVED,
        ),
        (
            {"jmesPath": "{{ request.object.metadata }}"},
            "jmespath value must be a string v {{ request.object.metadata }}: <nil>",
        ),
    ],
)
def test_a_variable_that_cannot_be_says_so_in_kyvernos_words(described, reason):
    with pytest.raises(errors.LoadFailed) as failed:
        search("v", variable("v", **described))
    assert str(failed.value) == reason


@pytest.mark.parametrize(
    "text", ["v || 'other'", "to_array(v)[]", "to_array(v)[?x]", "[v]", "v && 'x'", "!v", "length(v)"]
)
def test_no_operator_turns_an_entry_that_failed_into_null(text):
    """A policy that could not look must not go on as if it had looked and found nothing."""
    with pytest.raises(errors.LoadFailed):
        search(text, variable("v", jmesPath="request.nosuch"))


def test_an_entry_sees_those_before_it_and_not_those_after_it():
    entries = (variable("a", value=1), variable("b", jmesPath="a"), variable("c", jmesPath="d"), variable("d", value=1))
    assert search("b", *entries) == 1
    with pytest.raises(errors.LoadFailed, match='Unknown key "d"'):
        search("c", *entries)


def test_a_second_entry_of_a_name_hides_the_first_and_sees_it():
    entries = (variable("a", value=1), variable("a", jmesPath="[a, `2`]"))
    assert search("a", *entries) == [1, 2]


def test_an_entry_is_loaded_once_and_only_if_it_is_named():
    need = needs.ConfigMap("shop", "settings")
    entry = {"name": "cm", "configMap": {"name": "settings", "namespace": "shop"}}
    made, budget = scope(entry, variable("v", value="x"))
    assert jmespath.compile("v").search(made, budget) == "x"
    with pytest.raises(needs.Needed) as lacking:
        jmespath.compile("cm.data.a").search(made, budget)
    assert lacking.value.need == need
    budget.facts.add(need, {"metadata": {}, "data": {"a": "1"}})
    assert jmespath.compile("cm.data.a").search(made, budget) == "1"
    budget.facts.add(need, {"metadata": {}, "data": {"a": "2"}})
    assert jmespath.compile("cm.data.a").search(made, budget) == "1"


def test_what_an_element_loads_around_it_stays_loaded():
    """The entries around a loop are loaded once, not once an element."""
    need = needs.GlobalEntry("deployments.names")
    made, budget = scope({"name": "g", "globalReference": {"name": "deployments.names"}}, known={need: ["a"]})
    first = context.nested(made, {"element": 1}, (), budget)
    assert first["g"] == ["a"]
    budget.facts.add(need, ["b"])
    second = context.nested(made, {"element": 2}, compiled(variable("e", jmesPath="[element, g]")), budget)
    assert second["e"] == [2, ["a"]]
    assert first["element"] == 1
    assert "element" not in made


@pytest.mark.parametrize(
    ("described", "need", "value", "path", "found"),
    [
        (
            {"apiCall": {"urlPath": "/api/v1/namespaces/{{request.object.metadata.namespace}}/pods?limit=5"}},
            needs.APICall("/api/v1/namespaces/shop/pods?limit=5"),
            {"items": []},
            "e.items",
            [],
        ),
        (
            {"apiCall": {"urlPath": "/api//v1/./x/../nodes", "jmesPath": "items[].name"}},
            needs.APICall("/api/v1/nodes"),
            {"items": [{"name": "n"}]},
            "e",
            ["n"],
        ),
        (
            {
                "apiCall": {
                    "urlPath": "/apis/authorization.k8s.io/v1/subjectaccessreviews",
                    "method": "POST",
                    "data": [{"key": "b", "value": {"n": "{{request.operation}}"}}, {"key": "a", "value": 1}],
                }
            },
            needs.APICall("/apis/authorization.k8s.io/v1/subjectaccessreviews", "POST", b'{"a":1,"b":{"n":"CREATE"}}'),
            {"status": {"allowed": True}},
            "e.status.allowed",
            True,
        ),
        (
            {
                "apiCall": {
                    "service": {
                        "url": "https://x.{{request.object.metadata.namespace}}.svc",
                        "headers": [{"key": "A", "value": "b"}],
                        "caBundle": "PEM",
                    },
                    "method": "GET",
                }
            },
            needs.ServiceCall("https://x.shop.svc", "GET", (("A", "b"),), b"", "PEM"),
            "yes",
            "e",
            "yes",
        ),
        (
            {
                "imageRegistry": {
                    "reference": "ghcr.io/a/{{request.object.metadata.name}}",
                    "jmesPath": "configData.config.Labels",
                    "imageRegistryCredentials": {
                        "secrets": ["s"],
                        "providers": ["github"],
                        "allowInsecureRegistry": True,
                    },
                }
            },
            needs.ImageData("ghcr.io/a/web", ("s",), ("github",), True),
            {"configData": {"config": {"Labels": {"a": "b"}}}},
            "e.a",
            "b",
        ),
        (
            {"globalReference": {"name": "{{ 'deployments' }}", "jmesPath": "[0]"}},
            needs.GlobalEntry("deployments"),
            ["x", "y"],
            "e",
            "x",
        ),
        (
            {"configMap": {"name": "cm-{{request.object.metadata.name}}", "namespace": "shop"}},
            needs.ConfigMap("shop", "cm-web"),
            {"data": {"k": "v"}, "metadata": {}},
            "e.data.k",
            "v",
        ),
    ],
)
def test_what_an_entry_asks_for(described, need, value, path, found):
    entry = {"name": "e", **described}
    with pytest.raises(needs.Needed) as lacking:
        search(path, entry)
    assert lacking.value.need == need
    made, budget = scope(entry)
    budget.facts.add(need, value)
    assert jmespath.compile(path).search(made, budget) == found


@pytest.mark.parametrize(
    ("described", "need", "reason"),
    [
        (
            {"configMap": {"name": "a", "namespace": "b"}},
            needs.ConfigMap("b", "a"),
            "failed to retrieve config map for context entry e: failed to get configmap b/a : gone",
        ),
        (
            {"apiCall": {"urlPath": "/api"}},
            needs.APICall("/api"),
            "failed to fetch data for APICall: failed to GET resource with raw url: /api: gone",
        ),
        (
            {"globalReference": {"name": "a"}},
            needs.GlobalEntry("a"),
            "failed to marshal APICall data for context entry e: gone",
        ),
        (
            {"imageRegistry": {"reference": "a"}},
            needs.ImageData("a"),
            "failed to fetch image descriptor: a, error: gone",
        ),
    ],
)
def test_a_fact_that_could_not_be_fetched_fails_the_entry(described, need, reason):
    with pytest.raises(errors.LoadFailed) as failed:
        search("e", {"name": "e", **described}, known={need: "gone"})
    assert str(failed.value) == reason


def test_the_default_of_a_call_stands_in_for_an_answer_and_is_not_searched():
    call = {"name": "e", "apiCall": {"urlPath": "/api", "jmesPath": "a.b", "default": {"c": 1}}}
    assert search("e", call, known={needs.APICall("/api"): "gone"}) == {"c": 1}
    with pytest.raises(errors.LoadFailed, match=r'failed to apply JMESPath a\.b for context entry e: Unknown key "a"'):
        search("e", call, known={needs.APICall("/api"): {}})


def test_entries_whose_facts_are_not_to_be_had_are_left_out():
    """On a command line without a cluster the name means what it meant before: a value that a user set, or nothing."""
    entries = compiled({"name": "cm", "configMap": {"name": "{{ nosuch }}", "namespace": "b"}})
    budget = budgets.Budget(facts=needs.Facts(without=[needs.ConfigMap]))
    assert context.nested({"cm": {"data": 1}}, {}, entries, budget)["cm"] == {"data": 1}
    with pytest.raises(errors.NotFoundInPath):
        jmespath.compile("cm").search(context.nested({}, {}, entries, budget), budget)
    facts = needs.Facts()
    facts.skip(needs.GlobalEntry("g"))
    entries = compiled({"name": "g", "globalReference": {"name": "g"}})
    assert context.nested({"g": 7}, {}, entries, budgets.Budget(facts=facts))["g"] == 7


def test_a_fetched_map_is_laid_over_the_map_that_had_its_name_and_a_variable_replaces_it():
    before = {"cm": {"data": {"a": "set", "b": "set"}}}
    known = {needs.ConfigMap("d", "c"): {"data": {"a": "real"}, "metadata": {}}}
    made, _ = scope({"name": "cm", "configMap": {"name": "c", "namespace": "d"}}, known=known, base=before)
    assert made["cm"] == {"data": {"a": "real", "b": "set"}, "metadata": {}}
    assert scope(variable("cm", value={"x": 1}), base=before)[0]["cm"] == {"x": 1}


def test_what_entries_load_is_bounded_together():
    big = {"items": ["x" * 500]}
    calls = [{"name": f"e{n}", "apiCall": {"urlPath": f"/{n}"}} for n in range(3)]
    known = {needs.APICall(f"/{n}"): big for n in range(3)}
    made, _ = scope(*calls, known=known, context=1200)
    assert made["e0"] == made["e1"] == big
    with pytest.raises(errors.LoadFailed, match=r"context size limit exceeded: \d+ bytes exceeds limit of 1200 bytes"):
        made["e2"]


def test_a_value_that_holds_itself_many_times_over_cannot_get_round_the_bound():
    entries = [variable("e0", value=["x" * 100])]
    entries += [variable(f"e{n}", jmesPath=f"[e{n - 1}, e{n - 1}]") for n in range(1, 40)]
    made, _ = scope(*entries)
    with pytest.raises(errors.LoadFailed, match="context size limit exceeded"):
        made["e39"]


def test_loading_is_watched_with_its_outcome():
    known = {needs.ConfigMap("d", "c"): {"data": {}}, needs.ConfigMap("d", "x"): "gone"}
    entries = [{"name": name, "configMap": {"name": name, "namespace": "d"}} for name in ("c", "x", "never")]
    made, budget = scope(*entries, known=known)
    budget.log, budget.clock = [], iter(range(100)).__next__
    assert made["c"] == {"data": {}}
    with pytest.raises(errors.LoadFailed):
        made["x"]
    assert [step[:2] for step in budget.log] == [
        (watching.Step.CONTEXT, "c"),
        ("ok", ""),
        (watching.Step.CONTEXT, "x"),
        ("error", "failed to retrieve config map for context entry x: failed to get configmap d/x : gone"),
    ]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"variable": {"value": 1}}, "c[0].name: a name is required for context entries"),
        ({"name": "a"}, "c[0]: exactly one of configMap or apiCall or imageRegistry or variable is required"),
        (
            {"name": "a", "variable": {"value": 1}, "configMap": {"name": "a", "namespace": "b"}},
            "c[0]: exactly one of configMap or apiCall or imageRegistry or variable is required",
        ),
        (
            variable("request.object", value=1),
            "entry name request.object is invalid as it conflicts with a pre-defined",
        ),
        (
            variable("images", value=1),
            "entry name images is invalid as it conflicts with a pre-defined variable images",
        ),
        (variable("a"), "a variable must define a value or a jmesPath expression"),
        (variable("a", value=1, default=2), "a variable must define a default value only when a jmesPath expression"),
        (variable("a", jmesPath="a["), "c[0].variable.jmesPath: failed to parse JMESPath a["),
        ({"name": "a", "configMap": {"name": "x"}}, "a namespace is required for configMap context entry"),
        ({"name": "a", "imageRegistry": {}}, "a ref is required for imageRegistry context entry"),
        ({"name": "a", "globalReference": {}}, "a name is required for globalReference context entry"),
        (
            {"name": "a", "apiCall": {"urlPath": "/x", "service": {"url": "y"}}},
            "a URLPath cannot be used for service API calls",
        ),
        ({"name": "a", "apiCall": {"urlPath": "/x", "method": "PUT"}}, "'PUT' is not one of GET, POST"),
    ],
)
def test_an_entry_that_cannot_be_meant_is_refused(entry, reason):
    with pytest.raises(errors.PolicyInvalid) as invalid:
        compiled(entry)
    assert reason in str(invalid.value)


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ({"foo": 1}, {"foo": 1, "request": {"object": {"a": {"b": 1}}}}),
        ({"request.object.a.c": 2}, {"request": {"object": {"a": {"b": 1, "c": 2}}}}),
        ({"request.object": {"a": {"b": 3}}}, {"request": {"object": {"a": {"b": 3}}}}),
        ({"request.object.a": [1]}, {"request": {"object": {"a": [1]}}}),
        ({'x."y.z/q".w': 1}, {"x": {"y.z/q": {"w": 1}}, "request": {"object": {"a": {"b": 1}}}}),
    ],
)
def test_values_from_outside_are_laid_over_by_dotted_name(named, found):
    base = {"request": {"object": {"a": {"b": 1}}}}
    assert context.laid_over(base, named) == found
    assert base == {"request": {"object": {"a": {"b": 1}}}}
