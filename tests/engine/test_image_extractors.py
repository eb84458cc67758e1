"""`imageExtractors`: where images stand in objects that are no Pods."""

import pytest

from kymograph.engine import budget as budgets
from kymograph.engine import compile as compiler
from kymograph.engine import errors, fields
from kymograph.engine.images import extraction

TASK = {"kind": "Task", "spec": {"steps": [{"name": "a", "image": "nginx:1"}, {"name": "b", "image": "ghcr.io/b:2"}]}}


def extracted(resource, *extractors, kind="Task"):
    problems = fields.Problems()
    rule = fields.Fields({"imageExtractors": {kind: list(extractors)}}, "rule", problems, ("imageExtractors",))
    by_kind = extraction.read(rule)
    problems.raise_if_any()
    found = extraction.extracted(resource, budgets.Budget(), by_kind)
    return {
        group: {name: (str(each.image), each.pointer) for name, each in images.items()}
        for group, images in found.items()
    }


@pytest.mark.parametrize(
    ("extractor", "found"),
    [
        (
            {"path": "/spec/steps/*/image"},
            {
                "custom": {
                    "/spec/steps/0/image": ("docker.io/nginx:1", "/spec/steps/0/image"),
                    "/spec/steps/1/image": ("ghcr.io/b:2", "/spec/steps/1/image"),
                }
            },
        ),
        (
            {"path": " spec / steps / * ", "value": "image", "key": "name", "name": "steps"},
            {
                "steps": {
                    "a": ("docker.io/nginx:1", "/spec/steps/0/image"),
                    "b": ("ghcr.io/b:2", "/spec/steps/1/image"),
                }
            },
        ),
        ({"path": "/spec/nothing/*/image"}, {}),
        ({"path": "/spec/steps/*/ref"}, {}),
    ],
)
def test_a_path_leads_to_images_by_their_keys(extractor, found):
    assert extracted(TASK, extractor) == found


def test_any_entry_of_a_map_or_of_lists_in_lists_may_hold_an_image():
    by_name = {"kind": "Task", "images": {"x": {"ref": "q:1"}, "y": "no object"}}
    assert extracted(by_name, {"path": "/images/*/ref"}) == {
        "custom": {"/images/x/ref": ("docker.io/q:1", "/images/x/ref")}
    }
    nested = {"kind": "Task", "images": [[{"ref": "q:1"}]]}
    assert extracted(nested, {"path": "/images/*/ref"}) == {
        "custom": {"/images/0/0/ref": ("docker.io/q:1", "/images/0/0/ref")}
    }


def test_an_expression_makes_the_image_of_what_is_written():
    resource = {"kind": "Task", "url": "docker://ghcr.io/a/b:1"}
    found = extracted(resource, {"path": "/url", "jmesPath": "trim_prefix(@, 'docker://')"})
    assert found == {"custom": {"/url": ("ghcr.io/a/b:1", "/url")}}


def test_of_several_groups_with_one_name_the_last_with_images_counts():
    paths = {"path": "/spec/steps/*/image"}, {"path": "/spec/nothing/*/image"}
    assert len(extracted(TASK, *paths)["custom"]) == 2


def test_other_kinds_keep_the_extractors_that_they_have():
    resource = {"kind": "Pod", "spec": {"containers": [{"name": "c", "image": "nginx:1"}]}}
    assert extracted(resource, {"path": "/a"}) == {
        "containers": {"c": ("docker.io/nginx:1", "/spec/containers/0/image")}
    }
    assert extracted({"kind": "Other"}, {"path": "/a"}) == {}


@pytest.mark.parametrize(
    ("resource", "extractor", "reason"),
    [
        ({"kind": "Task", "spec": "x"}, {"path": "/spec/image"}, "invalid image config"),
        ({"kind": "Task", "spec": {"steps": "x"}}, {"path": "/spec/steps/*/image"}, "invalid image config"),
        (TASK, {"path": "/spec/steps/*/image", "key": "id"}, "invalid key"),
        ({"kind": "Task", "spec": {"image": "A:::"}}, {"path": "/spec/image"}, "invalid image 'A:::'"),
        (
            {"kind": "Task", "spec": {"image": "a"}},
            {"path": "/spec/image", "jmesPath": "length(@)"},
            "jmespath length(@) must produce a string, but produced 1",
        ),
        (
            {"kind": "Task", "spec": {"image": "a"}},
            {"path": "/spec/image", "jmesPath": "base64_decode(@)"},
            "failed to apply jmespath base64_decode(@): ",
        ),
    ],
)
def test_what_is_not_as_the_extractor_says_is_an_error(resource, extractor, reason):
    with pytest.raises(errors.EvaluationError) as failed:
        extracted(resource, extractor)
    assert str(failed.value).startswith(reason)


@pytest.mark.parametrize(
    ("extractors", "problem"),
    [
        ({"Task": []}, "imageExtractors.Task: no extractors found for Task"),
        ({"Task": [{}]}, "imageExtractors.Task[0].path: a path to the images is required"),
        ({"Task": [{"path": "/a", "jmesPath": "a["}]}, "imageExtractors.Task[0].jmesPath: invalid jmespath a["),
        ({"Task": [{"path": "/a", "jmespath": "a"}]}, "imageExtractors.Task[0].jmespath: unknown field"),
        ([], "imageExtractors: must be an object, not a list"),
    ],
)
def test_what_is_wrong_with_an_extractor_is_said_with_its_path(extractors, problem):
    rule = {
        "name": "r",
        "match": {"any": [{"resources": {"kinds": ["Task"]}}]},
        "imageExtractors": extractors,
        "verifyImages": [{"imageReferences": ["*"], "mutateDigest": False}],
    }
    document = {"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": "p"}}
    with pytest.raises(errors.PolicyInvalid) as refused:
        compiler.compile_policy({**document, "spec": {"rules": [rule]}})
    assert any(str(each).startswith(f"spec.rules[0].{problem}") for each in refused.value.problems)


def test_a_rule_rewritten_for_controllers_has_no_extractors():
    """Those of the rule are about the kinds that it names."""
    rule = {
        "name": "r",
        "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
        "imageExtractors": {"Pod": [{"path": "/spec/containers/*/image"}]},
        "verifyImages": [{"imageReferences": ["*"], "mutateDigest": False}],
    }
    document = {"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": "p"}}
    compiled = compiler.compile_policy({**document, "spec": {"rules": [rule]}})
    assert all("imageExtractors" not in each for each in compiled.rewritten)
    assert [each["name"] for each in compiled.rewritten] == ["autogen-r", "autogen-cronjob-r"]
