"""GlobalContextEntries given beside other objects: what they hold is taken from those objects, once.

An entry with `apiCall` holds nothing without a cluster: policies that refer to it are told that it is not there.
Any version of the kind counts, as in a cluster; Kyverno's command line reads `kyverno.io/v2` only.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from kymograph.apimachinery import gvk
from kymograph.cli.offline import answers, expressions, files, simulated
from kymograph.engine import errors, fields, jmespath

GROUP, KIND = "kyverno.io", "GlobalContextEntry"

_KNOWN = ("apiVersion", "kind", "metadata", "spec", "status")


def is_entry(document: Mapping[str, Any]) -> bool:
    """Whether an object is a GlobalContextEntry."""
    if document.get("kind") != KIND:
        return False
    return gvk.split_api_version(str(document.get("apiVersion") or ""))[0] == GROUP


def collect(documents: Iterable[files.Document], cluster: simulated.Cluster) -> dict[str, answers.Collected]:
    """What entries hold, by name.

    Args:
        documents: The entries.
        cluster: The objects.

    Raises:
        InputInvalid: An entry is wrong, or one of its expressions fails on the objects.
    """
    found = {}
    for document in documents:
        problems = fields.Problems()
        top = fields.Fields(document.value, "", problems, _KNOWN)
        metadata = top.raw("metadata")
        name = metadata.get("name") if isinstance(metadata, Mapping) else None
        if not isinstance(name, str) or not name:
            top.wrong("metadata", "needs a name: policies refer to the entry by it")
        spec = fields.Fields(top.raw("spec"), "spec", problems, ("kubernetesResource", "apiCall", "projections"))
        if ("kubernetesResource" in spec) == ("apiCall" in spec):
            problems.add("spec", "must have either kubernetesResource or apiCall")
        held = _collected(spec, cluster) if "kubernetesResource" in spec else None
        document.raise_if_any(problems)
        if held is not None:
            found[str(name)] = held
    return found


def _collected(spec: fields.Fields, cluster: simulated.Cluster) -> answers.Collected:
    wanted = fields.Fields(
        spec.raw("kubernetesResource"),
        spec.at("kubernetesResource"),
        spec.problems,
        ("group", "version", "resource", "namespace"),
    )
    for field in ("version", "resource"):
        if not wanted.text(field):
            wanted.wrong(field, f"is required: the {field} of the objects")
    objects = cluster.listed(
        wanted.text("group"), wanted.text("version"), wanted.text("resource"), wanted.text("namespace")
    )
    return answers.Collected(objects, _projected(spec, objects))


def _projected(spec: fields.Fields, objects: list[Mapping[str, Any]]) -> dict[str, Any]:
    found = {}
    for each, path in spec.items("projections"):
        projection = fields.Fields(each, path, spec.problems, ("name", "jmesPath"))
        name, expression = projection.text("name"), projection.text("jmesPath")
        for field, value in (("name", name), ("jmesPath", expression)):
            if not value:
                projection.wrong(field, "is required")
        if not expression:
            continue
        try:
            found[name] = expressions.search(jmespath.compile(expression), objects)
        except (jmespath.ExpressionInvalid, errors.EvaluationError) as error:
            projection.wrong("jmesPath", str(error))
    return found
