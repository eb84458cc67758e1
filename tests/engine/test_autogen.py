"""Rules about Pods, rewritten for the controllers that make Pods."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kymograph.engine.autogen import controllers, rewrite

ALL = ("CronJob", "DaemonSet", "Deployment", "Job", "ReplicaSet", "ReplicationController", "StatefulSet")
FIVE = tuple(kind for kind in ALL if kind != "CronJob")


def rule(validate=None, **changes):
    return {
        "name": "check",
        "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
        "validate": validate or {"message": "no", "pattern": {"spec": {"hostNetwork": False}}},
        **changes,
    }


def matching(**description):
    return {"match": {"any": [{"resources": {"kinds": ["Pod"], **description}}]}}


@pytest.mark.parametrize(
    ("rules", "wanted"),
    [
        ([rule()], ALL),
        ([rule(match={"all": [{"resources": {"kinds": ["Pod"]}}]})], ALL),
        ([rule(match={"resources": {"kinds": ["Pod"]}})], ALL),
        ([rule(**matching(namespaces=["a"], operations=["CREATE"]))], ALL),
        ([rule(**matching(name="x"))], ()),
        ([rule(**matching(names=["x"]))], ()),
        ([rule(**matching(selector={"matchLabels": {"a": "b"}}))], ()),
        ([rule(**matching(annotations={"a": "b"}))], ()),
        ([rule(exclude={"any": [{"resources": {"names": ["x"]}}]})], ()),
        ([rule(**matching(kinds=["Pod", "Service"]))], ()),
        ([rule(**matching(kinds=["Service"]))], ()),
        ([rule(**matching(kinds=["v1/Pod"]))], ()),
        ([rule(**matching(kinds=["Deployment"]))], ALL),
        ([rule(), rule(**matching(kinds=["Service"]))], ALL),
        ([rule(), rule(**matching(name="x"))], ()),
        ([rule(), {"name": "g", "generate": {"kind": "ConfigMap"}}], ()),
        ([rule(), {"name": "m", "mutate": {"patchesJson6902": "- op: remove"}}], ()),
    ],
)
def test_autogen_needs_rules_that_select_by_kind_alone(rules, wanted):
    assert controllers.wanted(rules, {}) == wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("none", ()),
        ("", ()),
        ("Deployment", ("Deployment",)),
        ("Deployment,CronJob", ("CronJob", "Deployment")),
        ("Deployment, CronJob", (" CronJob", "Deployment")),
        ("Rollout", ("Rollout",)),
    ],
)
def test_the_annotation_chooses_the_controllers(value, wanted):
    assert controllers.wanted([rule()], {controllers.ANNOTATION: value}) == wanted


def test_a_pattern_moves_below_the_template():
    made = rewrite.for_controllers(rule(), FIVE)
    assert made == {
        "name": "autogen-check",
        "match": {
            "any": [
                {
                    "resources": {
                        "kinds": [
                            "apps/v1/DaemonSet",
                            "apps/v1/Deployment",
                            "batch/v1/Job",
                            "apps/v1/ReplicaSet",
                            "v1/ReplicationController",
                            "apps/v1/StatefulSet",
                        ]
                    }
                }
            ]
        },
        "validate": {"message": "no", "pattern": {"spec": {"template": {"spec": {"hostNetwork": False}}}}},
    }


def test_a_pattern_moves_below_the_job_template():
    made = rewrite.for_cron_jobs(rule(), ALL)
    assert made["name"] == "autogen-cronjob-check"
    assert made["match"] == {"any": [{"resources": {"kinds": ["batch/v1/CronJob"]}}]}
    pattern = {"spec": {"jobTemplate": {"spec": {"template": {"spec": {"hostNetwork": False}}}}}}
    assert made["validate"]["pattern"] == pattern


def test_each_of_several_patterns_moves():
    made = rewrite.for_controllers(rule({"anyPattern": [{"spec": {"a": 1}}, {"spec": {"b": 2}}]}), ["Deployment"])
    assert made["validate"]["anyPattern"] == [
        {"spec": {"template": {"spec": {"a": 1}}}},
        {"spec": {"template": {"spec": {"b": 2}}}},
    ]


def test_mentions_of_the_object_move_wherever_they_stand():
    conditions = {"any": [{"key": "{{ request.object.spec.x }}", "operator": "Equals", "value": 1}]}
    document = rule(
        {"message": "{{request.oldObject.metadata.name}}", "deny": {"conditions": conditions}},
        preconditions={"all": [{"key": "{{request.object.metadata.labels}}", "operator": "Equals", "value": ""}]},
    )
    made = rewrite.for_controllers(document, ["Deployment"])
    assert made["validate"]["deny"]["conditions"]["any"][0]["key"] == "{{ request.object.spec.template.spec.x }}"
    assert made["validate"]["message"] == "{{request.oldObject.spec.template.metadata.name}}"
    assert made["preconditions"]["all"][0]["key"] == "{{request.object.spec.template.metadata.labels}}"
    made = rewrite.for_cron_jobs(document, ALL)
    shifted = "{{ request.object.spec.jobTemplate.spec.template.spec.x }}"
    assert made["validate"]["deny"]["conditions"]["any"][0]["key"] == shifted


def test_the_replacement_is_blind_and_hits_longer_words_too():
    made = rewrite.for_controllers(rule({"message": "request.object.specification", "pattern": {}}), ["Job"])
    assert made["validate"]["message"] == "request.object.spec.template.specification"


def test_only_filters_with_pods_get_other_kinds_except_for_cron_jobs():
    filters = [{"resources": {"kinds": ["Pod"]}}, {"resources": {"kinds": ["Service"]}}]
    made = rewrite.for_controllers(rule(match={"any": filters}), ["Deployment"])
    assert [each["resources"]["kinds"] for each in made["match"]["any"]] == [["apps/v1/Deployment"], ["Service"]]
    made = rewrite.for_cron_jobs(rule(match={"any": filters}), ALL)
    assert [each["resources"]["kinds"] for each in made["match"]["any"]] == [["batch/v1/CronJob"]] * 2


def test_exclude_gets_the_same_kinds():
    exclude = {"any": [{"resources": {"kinds": ["Pod"], "namespaces": ["kube-system"]}}]}
    made = rewrite.for_controllers(rule(exclude=exclude), ["Deployment"])
    assert made["exclude"]["any"] == [{"resources": {"kinds": ["apps/v1/Deployment"], "namespaces": ["kube-system"]}}]
    made = rewrite.for_controllers(rule(exclude={"any": [{"resources": {"namespaces": ["a"]}}]}), ["Deployment"])
    assert made["exclude"]["any"] == [{"resources": {"namespaces": ["a"]}}]


@pytest.mark.parametrize(
    "document",
    [
        rule(match={"any": [{"resources": {"kinds": ["Service"]}}]}),
        rule(name="autogen-mine"),
        rule(exclude={"any": [{"resources": {"kinds": ["Service"]}}]}),
    ],
)
def test_other_rules_are_left_alone(document):
    assert rewrite.for_controllers(document, ["Deployment"]) is None
    assert rewrite.for_cron_jobs(document, ALL) is None


def test_what_a_rule_leads_to_is_kept():
    body = {
        "pattern": {"spec": {}},
        "failureAction": "Enforce",
        "failureActionOverrides": [{"action": "Audit", "namespaces": ["a"]}],
        "allowExistingViolations": False,
    }
    made = rewrite.for_controllers(rule(body), ["Deployment"])["validate"]
    assert {key: value for key, value in made.items() if key != "pattern"} == {
        key: value for key, value in body.items() if key != "pattern"
    }


@given(st.text("abc-", min_size=1, max_size=80))
def test_names_are_cut_to_what_a_label_holds(name):
    made = rewrite.for_cron_jobs(rule(name=f"r{name}"), ALL)
    assert made["name"] == f"autogen-cronjob-r{name}"[:63]


@given(st.sampled_from(FIVE))
def test_the_rule_as_written_is_not_changed(kind):
    document = rule(exclude={"any": [{"resources": {"kinds": ["Pod"]}}]})
    before = repr(document)
    rewrite.for_controllers(document, [kind])
    rewrite.for_cron_jobs(document, ALL)
    assert repr(document) == before


OVERLAY = {"spec": {"hostNetwork": False}}


@pytest.mark.parametrize(
    ("mutation", "wrapped"),
    [
        ({"patchStrategicMerge": OVERLAY}, {"patchStrategicMerge": {"spec": {"template": OVERLAY}}}),
        (
            {
                "foreach": [
                    {"list": "request.object.spec.containers", "order": "Ascending", "patchStrategicMerge": OVERLAY}
                ]
            },
            {
                "foreach": [
                    {
                        "list": "request.object.spec.template.spec.containers",
                        "order": "Ascending",
                        "patchStrategicMerge": {"spec": {"template": OVERLAY}},
                    }
                ]
            },
        ),
        ({"targets": [{"kind": "Secret"}], "patchStrategicMerge": OVERLAY}, None),
        ({"foreach": [{"list": "a", "foreach": [{"list": "b", "patchStrategicMerge": OVERLAY}]}]}, None),
    ],
)
def test_a_patch_of_pods_is_wrapped_and_one_of_other_objects_is_not(mutation, wrapped):
    written = {**rule(), "mutate": mutation}
    del written["validate"]

    found = rewrite.for_controllers(written, FIVE)

    assert (found and found["mutate"]) == wrapped


def test_a_patch_of_pods_is_wrapped_twice_for_cron_jobs():
    written = {**rule(), "mutate": {"patchStrategicMerge": OVERLAY}}

    found = rewrite.for_cron_jobs(written, ALL)

    assert found["mutate"] == {"patchStrategicMerge": {"spec": {"jobTemplate": {"spec": {"template": OVERLAY}}}}}


def test_conditions_without_any_are_dropped():
    """Kyverno writes the rewritten rule without empty lists: an `any` of nothing holds there, and not for the Pod."""
    made = rewrite.for_controllers(rule(preconditions={"any": [], "all": [{"key": 1}]}), ["Deployment"])
    assert made["preconditions"] == {"all": [{"key": 1}]}
