"""What an installation says to every evaluation: whose images are that name no registry, how much contexts may load."""

import json

import pytest

from kymograph.apimachinery import imageref
from kymograph.engine import budget as budgets
from kymograph.engine import compile as compiler
from kymograph.engine import context, errors, evaluate, fields, jmespath, needs
from kymograph.engine.images import application

DIGEST = "sha256:" + "a" * 64
GHCR = needs.Installation(imageref.Naming("ghcr.io"))
UNNAMED = needs.Installation(imageref.Naming(shown=False))
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "x", "namespace": "default"},
    "spec": {
        "containers": [{"name": "c", "image": "nginx:1", "securityContext": {"privileged": True}}],
        "initContainers": [{"name": "i", "image": "quay.io/a"}],
    },
}
REQUEST = {
    "kind": {"group": "", "version": "v1", "kind": "Pod"},
    "namespace": "default",
    "operation": "CREATE",
    "object": POD,
}


def policy(**body):
    rule = {"name": "r", "match": {"any": [{"resources": {"kinds": ["Pod"]}}]}, **body}
    document = {"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": "p"}}
    return compiler.compile_policy({**document, "spec": {"rules": [rule]}}, admits_signed=True)


def judged(compiled, installation):
    facts = needs.Facts(installation=installation)
    (result,) = evaluate.evaluate([compiled], REQUEST, facts, budgets.Budget(), lambda: 0)
    (rule,) = result.rules
    return rule


SHOWN = {"message": "{{ images.containers.c }} {{ images.initContainers.i.registry }}", "deny": {}}


@pytest.mark.parametrize(
    ("installation", "registry", "reference"),
    [
        (needs.STANDARD, {"registry": "docker.io"}, "docker.io/nginx:1"),
        (GHCR, {"registry": "ghcr.io"}, "ghcr.io/nginx:1"),
        (UNNAMED, {}, "nginx:1"),
    ],
)
def test_images_are_shown_with_the_registry_that_the_installation_says(installation, registry, reference) -> None:
    """In `images`, for those that name none; without one where that is not to be shown."""
    shown, _, other = judged(policy(validate=SHOWN), installation).message.rpartition(" ")
    described = {"name": "nginx", "path": "nginx", "tag": "1", "jsonPointer": "/spec/containers/0/image"}
    assert json.loads(shown) == {**described, **registry, "reference": reference, "referenceWithTag": reference}
    assert other == "quay.io"


@pytest.mark.parametrize(
    ("installation", "found"), [(needs.STANDARD, "docker.io/a:1"), (GHCR, "ghcr.io/a:1"), (UNNAMED, "a:1")]
)
def test_expressions_normalise_images_alike(installation, found) -> None:
    """`image_normalize`, also where nothing may be asked and the standard counts."""
    expression = jmespath.compile("image_normalize('a:1')")
    assert expression.search({}, budgets.Budget(facts=needs.Facts(installation=installation))) == found
    assert expression.search({}, budgets.Budget()) == "docker.io/a:1"


@pytest.mark.parametrize(
    ("installation", "image"),
    [(needs.STANDARD, "docker.io/nginx:1"), (GHCR, "ghcr.io/nginx:1"), (UNNAMED, "nginx:1")],
)
def test_the_image_of_a_pod_becomes_what_it_is_called(installation, image) -> None:
    """Where its digest is added: Kyverno writes an image anew nowhere else."""
    entry = {"imageReferences": [f"{image.rpartition(':')[0]}*"], "verifyDigest": False, "required": False}
    compiled = policy(verifyImages=[{**entry, "failureAction": "Enforce"}])
    facts = needs.Facts(installation=installation)
    facts.add(needs.ImageData(image), {"resolvedImage": f"somewhere/some@{DIGEST}"})
    verification = application.Verification([compiled], REQUEST, facts, budgets.Budget(), lambda: 0)
    _, changed = verification.run()
    assert changed["spec"]["containers"][0]["image"] == f"{image}@{DIGEST}"


@pytest.mark.parametrize(("installation", "image"), [(needs.STANDARD, "docker.io/nginx:1"), (GHCR, "ghcr.io/nginx:1")])
def test_reports_of_pod_security_name_images_alike(installation, image) -> None:
    """In `controlsJSON`."""
    found = judged(policy(validate={"podSecurity": {"level": "baseline", "version": "latest"}}), installation)
    (control,) = json.loads(found.properties["controlsJSON"])
    assert control["Images"] == [image]


def entries(*documents):
    problems = fields.Problems()
    found = context.compile([(each, f"c[{n}]") for n, each in enumerate(documents)], problems, namespace="")
    problems.raise_if_any()
    return found


@pytest.mark.parametrize(("size", "fits"), [(1000, False), (3000, True), (0, True)])
def test_contexts_load_as_much_as_the_installation_says(size, fits) -> None:
    """All entries of an evaluation together; 0 is any amount."""
    calls = entries(*({"name": f"e{n}", "apiCall": {"urlPath": f"/{n}"}} for n in range(2)))
    facts = needs.Facts(installation=needs.Installation(context_size=size))
    for n in range(2):
        facts.add(needs.APICall(f"/{n}"), {"items": ["x" * 800]})
    made = context.nested({}, {}, calls, budgets.Budget(facts=facts))
    assert made["e0"]
    if fits:
        assert made["e1"]
    else:
        with pytest.raises(errors.LoadFailed, match=f"context size limit exceeded: .* exceeds limit of {size} bytes"):
            made["e1"]


def test_what_is_loaded_again_when_a_fact_is_there_counts_once() -> None:
    """An evaluation that lacks four facts begins five times, and loads what it has each time."""
    calls = [{"name": f"e{n}", "apiCall": {"urlPath": f"/{n}"}} for n in range(4)]
    sizes = " ".join(f"{{{{ length(e{n}) }}}}" for n in range(4))
    compiled = policy(context=calls, validate={"message": sizes, "deny": {}})
    facts = needs.Facts(installation=needs.Installation(context_size=4500))
    evaluation = evaluate.Evaluation([compiled], REQUEST, facts, budgets.Budget(), lambda: 0)
    while True:
        try:
            ((rule,),) = [result.rules for result in evaluation.run()]
            break
        except needs.Needed as needed:
            facts.add(needed.need, "x" * 1000)
    assert (rule.status, rule.message) == ("fail", "1000 1000 1000 1000")
