"""Strategic merge patches give what kustomize gives; the results were checked against it, order included."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kymograph.apimachinery import jsonpatch, mergelists, strategicmerge


def pod(**spec):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}


def containers(*names):
    return [{"name": name, "image": f"{name}:1"} for name in names]


def merged(base, patch):
    before = copy.deepcopy((base, patch))
    result = strategicmerge.merge(base, patch)
    assert (base, patch) == before
    return result


@pytest.mark.parametrize(
    ("patch", "spec"),
    [
        ({"hostNetwork": True}, {"hostNetwork": True}),
        ({"nodeSelector": {"b": "2"}}, {"nodeSelector": {"a": "1", "b": "2"}}),
        ({"nodeSelector": {"a": None}}, {"nodeSelector": {}}),
        ({"nodeSelector": None}, {"nodeSelector": None}),
        ({"nodeSelector": {"$patch": "delete"}}, {"nodeSelector": None}),
        ({"nodeSelector": {"$patch": "replace", "b": "2"}}, {"nodeSelector": {"b": "2"}}),
        ({"nodeSelector": {"$patch": "merge", "b": "2"}}, {"nodeSelector": {"a": "1", "b": "2"}}),
        ({"nodeSelector": {"a": 2}}, {"nodeSelector": {"a": "2"}}),
        ({"tolerations": [{"key": "n"}]}, {"tolerations": [{"key": "n"}]}),
        ({"dnsConfig": {"a": {"b": None, "c": {"$patch": "delete"}}}}, {"dnsConfig": {"a": {}}}),
    ],
)
def test_maps_are_merged_and_everything_else_is_replaced(patch, spec):
    base = pod(nodeSelector={"a": "1"}, tolerations=[{"key": "o"}])
    wanted = {key: value for key, value in {**base["spec"], **spec}.items() if value is not None}

    assert merged(base, {"spec": patch})["spec"] == wanted


@pytest.mark.parametrize(
    ("patch", "names"),
    [
        ([{"name": "b", "image": "x"}], "bac"),
        ([{"name": "c"}, {"name": "n"}, {"name": "m"}], "cnmab"),
        ([{"name": "b", "$patch": "delete"}], "ac"),
        ([{"name": "n", "$patch": "delete"}], "abc"),
        ([{"$patch": "delete"}], None),
        ([{"$patch": "replace"}, {"name": "n"}], "n"),
        ([{"$patch": "merge"}, {"name": "n"}], "nabc"),
        ([], "abc"),
        (None, None),
    ],
)
def test_containers_of_the_patch_come_first(patch, names):
    spec = merged(pod(containers=containers("a", "b", "c")), {"spec": {"containers": patch}})["spec"]

    found = spec.get("containers")
    assert (found if found is None else "".join(each["name"] for each in found)) == names


@pytest.mark.parametrize(
    ("base", "patch", "ports"),
    [
        ([{"containerPort": 80}], [{"containerPort": 80, "name": "n"}], [{"containerPort": 80, "name": "n"}]),
        (
            [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 81, "protocol": "TCP"}],
            [{"containerPort": 81, "protocol": "TCP", "name": "n"}, {"containerPort": 80, "protocol": "UDP"}],
            [
                {"containerPort": 80, "protocol": "UDP"},
                {"containerPort": 80, "protocol": "TCP"},
                {"containerPort": 81, "protocol": "TCP", "name": "n"},
            ],
        ),
        (
            [{"containerPort": 80}, {"containerPort": 443}],
            [{"containerPort": 443, "name": "t"}, {"containerPort": 1, "protocol": "UDP"}],
            [{"containerPort": 1, "protocol": "UDP"}, {"containerPort": 80}, {"containerPort": 443, "name": "t"}],
        ),
        (
            [{"containerPort": 80, "protocol": "TCP"}],
            [{"containerPort": 80, "name": "n"}],
            [{"containerPort": 80, "protocol": "TCP"}],  # kustomize loses a patch without the protocol
        ),
    ],
)
def test_ports_are_told_apart_by_number_and_protocol(base, patch, ports):
    spec = merged(
        pod(containers=[{"name": "a", "ports": base}]), {"spec": {"containers": [{"name": "a", "ports": patch}]}}
    )["spec"]

    assert spec["containers"][0]["ports"] == ports


def test_finalizers_are_a_set():
    base = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"finalizers": ["a", "b"]}}

    assert merged(base, {"metadata": {"finalizers": ["c", "b"]}})["metadata"]["finalizers"] == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("base", "patch", "wanted"),
    [
        ("ab", [{"image": "x"}], []),
        ("ab", [{"image": "x"}, {"name": "a", "image": "z"}], [{"name": "a", "image": "z"}]),
        ("ab", ["a"], []),
        ("aa", [{"name": "n"}], [{"name": "n"}, {"name": "a", "image": "a:1"}]),
    ],
)
def test_elements_without_their_key_do_what_they_do_in_kustomize(base, patch, wanted):
    assert merged(pod(containers=containers(*base)), {"spec": {"containers": patch}})["spec"]["containers"] == wanted


@pytest.mark.parametrize(
    ("kind", "patch", "names"),
    [
        ({"apiVersion": "example.com/v1", "kind": "Pod"}, {}, "b"),
        ({"kind": "Pod"}, {}, "b"),
        ({}, {"apiVersion": "v1", "kind": "Pod"}, "ba"),
        ({"apiVersion": "v1", "kind": "Pod"}, {}, "ba"),
    ],
)
def test_lists_of_unknown_kinds_are_replaced(kind, patch, names):
    base = {**kind, "spec": {"containers": containers("a")}}

    found = merged(base, {**patch, "spec": {"containers": containers("b")}})["spec"]["containers"]

    assert "".join(each["name"] for each in found) == names


def test_an_object_within_a_custom_one_is_merged_by_its_own_kind():
    base = {"apiVersion": "x/v1", "kind": "Y", "spec": {"inner": pod(containers=containers("a"))}}

    spec = merged(base, {"spec": {"inner": {"spec": {"containers": containers("b")}}}})["spec"]

    assert [each["name"] for each in spec["inner"]["spec"]["containers"]] == ["b", "a"]


@pytest.mark.parametrize("version", ["batch/v1", "batch/v1beta1"])
def test_templates_of_cron_jobs_are_merged_in_retired_versions_too(version):
    def job(found):
        template = {"spec": {"containers": found}}
        return {"spec": {"jobTemplate": {"spec": {"template": template}}}}

    base = {"apiVersion": version, "kind": "CronJob", **job(containers("a"))}

    result = merged(base, job([{"name": "a", "command": ["x"]}]))

    assert result["spec"] == job([{"name": "a", "image": "a:1", "command": ["x"]}])["spec"]


@pytest.mark.parametrize(
    ("patch", "reason"),
    [
        ({"spec": "x"}, "wrong node kind: expected MappingNode but got ScalarNode"),
        ({"spec": {"containers": {"a": 1}}}, "wrong node kind: expected SequenceNode but got MappingNode"),
        ({"metadata": {"name": ["p"]}}, "wrong node kind: expected ScalarNode but got SequenceNode"),
        ({"spec": {"$patch": "remove"}}, "unknown patch strategy 'remove'"),
        ({"$patch": "delete"}, "filter cannot create or delete objects"),
    ],
)
def test_what_does_not_fit_is_an_error(patch, reason):
    with pytest.raises(strategicmerge.MergeFailed) as failed:
        strategicmerge.merge(pod(containers=[]), patch)
    assert str(failed.value).startswith(reason)


def test_lists_that_the_patch_does_not_mention_stay_as_they_are():
    env = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
    base = pod(containers=[{"name": "a", "env": env}])

    result = merged(base, {"spec": {"hostNetwork": True}})

    assert result["spec"]["containers"] is base["spec"]["containers"]


def test_a_patch_that_changes_nothing_gives_the_object_itself():
    base = pod(containers=[{"name": "a", "ports": [{"containerPort": 80}]}, {"name": "b"}], hostNetwork=True)

    assert merged(base, {"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 80}]}]}}) is base


NAMES = st.lists(st.sampled_from("abcde"), unique=True, max_size=5)


@given(NAMES, NAMES)
def test_a_merge_keeps_every_element_and_the_order_of_the_patch(old, new):
    found = merged(pod(containers=containers(*old)), {"spec": {"containers": [{"name": name} for name in new]}})

    names = [each["name"] for each in found["spec"]["containers"]]
    assert names == new + [name for name in old if name not in new]


ELEMENTS = st.lists(
    st.fixed_dictionaries(
        {}, optional={"a": st.sampled_from("xy"), "b": st.sampled_from("xy"), "v": st.integers(0, 2)}
    ),
    max_size=4,
)


@given(ELEMENTS, ELEMENTS, st.sampled_from([("a",), ("a", "b")]))
def test_no_list_is_too_irregular_to_be_merged(old, patch, keys):
    before = copy.deepcopy((old, patch))

    result = mergelists.merge(
        old, patch, keys, lambda left, right: right if left is mergelists.NOTHING else {**left, **right}
    )

    assert (old, patch) == before
    assert all(isinstance(each, dict) for each in result)


@given(NAMES)
def test_merging_an_object_with_itself_changes_nothing(names):
    base = pod(containers=containers(*names))

    assert jsonpatch.same(merged(base, copy.deepcopy(base)), base)
