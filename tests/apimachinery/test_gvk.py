"""The grammar of kinds in policies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kymograph.apimachinery import gvk


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Pod", ("*", "*", "Pod", "")),
        ("*", ("*", "*", "*", "")),
        ("*/*", ("*", "*", "*", "*")),
        ("*/scale", ("*", "*", "*", "scale")),
        ("*/Pod", ("*", "*", "Pod", "")),
        ("Pod/status", ("*", "*", "Pod", "status")),
        ("Pod.status", ("*", "*", "Pod", "status")),
        ("v1/Pod", ("*", "v1", "Pod", "")),
        ("v1beta2/Deployment", ("*", "v1beta2", "Deployment", "")),
        ("v1/Pod/exec", ("*", "v1", "Pod", "exec")),
        ("v1/Pod.exec", ("*", "v1", "Pod", "exec")),
        ("apps/v1/Deployment", ("apps", "v1", "Deployment", "")),
        ("apps/*/Deploy*", ("apps", "*", "Deploy*", "")),
        ("*/v1/Pod", ("*", "*", "v1", "Pod")),  # the star is the version: a group cannot be left out by a star
        ("apps/v1/Deployment/scale", ("apps", "v1", "Deployment", "scale")),
        ("networking.k8s.io/v1/Ingress", ("networking.k8s.io", "v1", "Ingress", "")),
    ],
)
def test_a_kind_is_read_by_the_number_and_look_of_its_parts(text, parts):
    selector = gvk.parse_kind_selector(text)
    assert (selector.group, selector.version, selector.kind, selector.subresource) == parts


def test_a_first_part_of_three_that_looks_like_a_version_is_one():
    assert gvk.parse_kind_selector("*/Pod/status") == gvk.KindSelector("*", "*", "Pod", "status")


@pytest.mark.parametrize("text", ["", "a/b/c/d/e", "apps/v1/Deployment/scale/x"])
def test_what_is_no_kind_is_refused(text):
    with pytest.raises(ValueError, match="is no kind"):
        gvk.parse_kind_selector(text)


@pytest.mark.parametrize(
    ("text", "kind", "matches"),
    [
        ("Pod", ("", "v1", "Pod", ""), True),
        ("Pod", ("", "v1", "Pod", "status"), False),
        ("Pod", ("metrics.k8s.io", "v1beta1", "Pod", ""), True),
        ("v1/Pod", ("", "v2", "Pod", ""), False),
        ("apps/v1/*", ("apps", "v1", "StatefulSet", ""), True),
        ("apps/v1/*", ("", "v1", "Pod", ""), False),
        ("*/*", ("", "v1", "Pod", "exec"), True),
        ("*", ("", "v1", "Pod", "exec"), False),
        ("*Set", ("apps", "v1", "ReplicaSet", ""), True),
        ("Pod/*", ("", "v1", "Pod", "exec"), True),
        ("Pod/*", ("", "v1", "Pod", ""), True),
    ],
)
def test_each_part_is_matched_with_wildcards(text, kind, matches):
    assert gvk.parse_kind_selector(text).matcher()(*kind) is matches


@given(st.from_regex(r"[A-Z][A-Za-z]{0,20}", fullmatch=True), st.sampled_from(["v1", "v1alpha1", "v2beta3"]))
def test_a_full_kind_selects_exactly_itself(kind, version):
    matches = gvk.parse_kind_selector(f"example.com/{version}/{kind}").matcher()
    assert matches("example.com", version, kind, "")
    assert not matches("example.com", version, kind + "x", "")
    assert not matches("example.org", version, kind, "")


@pytest.mark.parametrize(
    ("text", "parts"),
    [("v1", ("", "v1")), ("apps/v1", ("apps", "v1")), ("", ("", ""))],
)
def test_an_api_version_is_a_group_and_a_version(text, parts):
    assert gvk.split_api_version(text) == parts
