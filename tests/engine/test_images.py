"""The variable `images`: the images of a Pod and of what makes Pods."""

import pytest

from kymograph.engine import budget as budgets
from kymograph.engine import context, errors, jmespath


def search(text, resource):
    budget = budgets.Budget()
    seen = context.nested({"request": {"object": resource}}, {}, (context.IMAGES,), budget)
    return jmespath.compile(text).search(seen, budget)


def workload(kind, *path, **lists):
    spec = {name: [{"name": f"c{n}", "image": image} for n, image in enumerate(each)] for name, each in lists.items()}
    for step in reversed(path):
        spec = {step: spec}
    return {"kind": kind, **spec}


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("Pod", ("spec",)),
        *(
            (kind, ("spec", "template", "spec"))
            for kind in ("Deployment", "DaemonSet", "StatefulSet", "ReplicaSet", "Job")
        ),
        ("CronJob", ("spec", "jobTemplate", "spec", "template", "spec")),
    ],
)
def test_images_are_found_where_each_kind_has_them(kind, path):
    resource = workload(kind, *path, containers=["nginx", "ghcr.io/a/b:v1"], initContainers=["x:1"])
    assert search("images", resource) == {
        "containers": {
            "c0": described("docker.io", "nginx", "nginx", "latest", f"/{'/'.join(path)}/containers/0/image"),
            "c1": described("ghcr.io", "a/b", "b", "v1", f"/{'/'.join(path)}/containers/1/image"),
        },
        "initContainers": {"c0": described("docker.io", "x", "x", "1", f"/{'/'.join(path)}/initContainers/0/image")},
    }


def described(registry, path, name, tag, pointer):
    reference = f"{registry}/{path}:{tag}"
    return {
        "registry": registry,
        "path": path,
        "name": name,
        "tag": tag,
        "reference": reference,
        "referenceWithTag": reference,
        "jsonPointer": pointer,
    }


@pytest.mark.parametrize("resource", [{"kind": "ConfigMap", "spec": {"containers": []}}, {"kind": "Pod"}, None])
def test_what_has_no_images_has_no_such_variable(resource):
    with pytest.raises(errors.NotFoundInPath, match='Unknown key "images" in path'):
        search("images", resource)
    assert search("images || `[]`", resource) == []


def test_an_image_that_cannot_be_read_fails_whatever_names_images():
    with pytest.raises(errors.LoadFailed, match="invalid image 'Not an image'"):
        search("images || `[]`", workload("Pod", "spec", containers=["Not an image"]))


def test_a_container_without_an_image_is_passed_over():
    resource = {"kind": "Pod", "spec": {"containers": [{"name": "a"}, {"name": "b", "image": "x"}]}}
    assert search("keys(images.containers)", resource) == ["b"]
