"""A namespaced policy sees its own namespace and nothing else, whatever it writes."""

import hypothesis
import pytest
from hypothesis import strategies

from kymograph.engine import budget as budgets
from kymograph.engine import context, errors, fields, needs
from kymograph.engine.context import confinement


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/api/v1/namespaces/shop/pods", "/api/v1/namespaces/shop/pods"),
        ("/api/v1/namespaces/shop", "/api/v1/namespaces/shop"),
        ("/apis/apps/v1/namespaces/shop/deployments/web/scale", "/apis/apps/v1/namespaces/shop/deployments/web/scale"),
        (
            "/api/v1/namespaces/shop/pods?labelSelector=a%3Db&x=..",
            "/api/v1/namespaces/shop/pods?labelSelector=a%3Db&x=..",
        ),
        ("/api//v1/namespaces/shop/./pods/", "/api/v1/namespaces/shop/pods"),
        ("/api/v1/namespaces/shop/pods/../configmaps", "/api/v1/namespaces/shop/configmaps"),
        ("/api/v1/namespaces/victim/../shop/pods", "/api/v1/namespaces/shop/pods"),
        ("/api/v1/namespaces/shop/pods/a%3Ab", "/api/v1/namespaces/shop/pods/a:b"),
    ],
)
def test_paths_of_the_own_namespace_are_let_through_normalised(raw, path):
    assert confinement.within(raw, "shop") == path


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param("/api/v1/namespaces/victim/secrets", id="another namespace"),
        pytest.param("/api/v1/namespaces/shop/../victim/secrets", id="dots"),
        pytest.param("/api/v1/namespaces/shop/%2e%2e/victim/secrets", id="encoded dots"),
        pytest.param("/api/v1/namespaces/shop/%2E%2e/victim/secrets", id="encoded dots, mixed case"),
        pytest.param("/api/v1/namespaces/shop/.%2e/victim/secrets", id="half encoded dots"),
        pytest.param("/api/v1/namespaces/shop%2f..%2fvictim/secrets", id="encoded slashes"),
        pytest.param("/api/v1/namespaces/shop/%252e%252e/victim/secrets", id="encoded twice"),
        pytest.param("/api/v1/namespaces/shop%00/secrets", id="a null byte"),
        pytest.param("/api/v1/namespaces/shop/pods/%0d%0aHost:x", id="a line break"),
        pytest.param("/api/v1/namespaces/shop\\..\\victim/secrets", id="backslashes"),
        pytest.param("/api/v1/namespaces/shop//../victim/secrets", id="doubled slashes before dots"),
        pytest.param("//victim.example/api/v1/namespaces/shop/pods", id="another host"),
        pytest.param("https://victim.example/api/v1/namespaces/shop/pods", id="another scheme"),
        pytest.param("/api/v1/namespaces", id="all namespaces"),
        pytest.param("/api/v1/namespaces/", id="all namespaces, with a slash"),
        pytest.param("/api/v1/secrets", id="all namespaces' objects"),
        pytest.param("/api/v1/nodes/n/proxy/namespaces/shop/x", id="a namespace behind a proxy"),
        pytest.param("/apis/x/v1/things/namespaces/shop/x", id="a cluster-scoped object named namespaces"),
        pytest.param("/api/v2/namespaces/shop/pods", id="no such API"),
        pytest.param("/version/namespaces/shop/x", id="no API"),
        pytest.param("/api/v1/namespaces/sho", id="a prefix of the namespace"),
        pytest.param("/api/v1/namespaces/shop2/pods", id="a namespace that begins alike"),
        pytest.param("/api/v1/namespaces/Shop/pods", id="another case"),
        pytest.param("/api/v1/watch/namespaces/shop/pods", id="watching"),
        pytest.param("/api/v1/pods?fieldSelector=metadata.namespace=/api/v1/namespaces/shop", id="in the query"),
        pytest.param("/api/v1/secrets?/api/v1/namespaces/shop/", id="as the query"),
        pytest.param("/api/v1/secrets%3f/api/v1/namespaces/shop/", id="behind an encoded query"),
        pytest.param("", id="nothing"),
    ],
)
def test_every_other_path_is_refused(raw):
    with pytest.raises(errors.EvaluationError) as refused:
        confinement.within(raw, "shop")
    assert str(refused.value).startswith("path /")


@hypothesis.given(strategies.text(alphabet="/.%2eEfFshopvictm?#\\;", max_size=30))
def test_nothing_that_can_be_appended_leads_out(tail):
    try:
        path = confinement.within(f"/api/v1/namespaces/shop/{tail}", "shop")
    except errors.EvaluationError:
        return
    assert path.partition("?")[0].startswith("/api/v1/namespaces/shop")
    assert ".." not in path.partition("?")[0].split("/")


def test_a_policy_of_the_cluster_may_call_any_path():
    assert confinement.within("/apis/x/../y?a=b", "") == "/apis/y?a=b"


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (
            {"configMap": {"name": "a", "namespace": "{{ other }}"}},
            'context entry e: configMap namespace "victim" is different from policy namespace "shop"',
        ),
        (
            {"apiCall": {"urlPath": "/api/v1/namespaces/{{ other }}/secrets"}},
            "refers to namespace victim, which is different from the policy namespace shop",
        ),
        (
            {"apiCall": {"urlPath": "/api/v1/namespaces/shop/pods/{{ dots }}/secrets"}},
            "refers to namespace victim, which is different from the policy namespace shop",
        ),
        ({"apiCall": {"service": {"url": "http://metadata"}}}, "does not contain a namespace segment"),
    ],
)
def test_what_variables_make_of_an_entry_is_what_is_judged(entry, reason):
    problems = fields.Problems()
    entries = context.compile([({"name": "e", **entry}, "c")], problems, namespace="shop")
    problems.raise_if_any()
    base = {"other": "victim", "dots": "../../victim"}
    made = context.nested(base, {}, entries, budgets.Budget(facts=needs.Facts()))
    with pytest.raises(errors.LoadFailed, match="failed to") as failed:
        made["e"]
    assert reason in str(failed.value)


def test_global_entries_are_not_for_namespaced_policies():
    problems = fields.Problems()
    context.compile([({"name": "e", "globalReference": {"name": "g"}}, "c")], problems, namespace="shop")
    assert [str(each) for each in problems] == [
        "c.globalReference: globalReference is not allowed in namespaced policies"
    ]
