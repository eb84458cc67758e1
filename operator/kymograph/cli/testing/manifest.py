"""A test as its file describes it (`cli.kyverno.io/v1alpha1`, kind Test), read strictly.

Every field is known here, also those whose meaning is not implemented yet: they are for the runner to refuse by name.
A field that nobody knows is an error, because a misspelled one would let a test pass that tests nothing. As in
Kyverno, the names of fields may be written in any case, `apiVersion` and `kind` may say anything but nothing.
"""

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kymograph.cli.offline import answers, files, mocks, values
from kymograph.engine import fields

RESULTS = ("pass", "fail", "skip", "warn", "error")
OPERATIONS = ("CREATE", "UPDATE", "DELETE")

_FILES = (
    "policies",
    "resources",
    "targetResources",
    "paramResources",
    "exceptions",
    "clusterResources",
    "jsonPayloads",
    "httpPayloads",
    "envoyPayloads",
)
_TEST = (
    "apiVersion",
    "kind",
    "metadata",
    "name",
    "jsonPayload",
    "variables",
    "values",
    "userinfo",
    "context",
    "apiCallResponses",
    "globalContextEntries",
    "results",
    *_FILES,
)
_KINDS_SAID = (
    "isValidatingAdmissionPolicy",
    "isMutatingAdmissionPolicy",
    "isValidatingPolicy",
    "isDeletingPolicy",
    "isImageValidatingPolicy",
    "isGeneratingPolicy",
    "isMutatingPolicy",
)
_RESULT = (
    "policy",
    "rule",
    "kind",
    "result",
    "operation",
    "resources",
    "resourceSpecs",
    "patchedResources",
    "generatedResource",
    "generatedResources",
    "cloneSourceResource",
    "failOnMissingResources",
    *_KINDS_SAID,
)


class Expected(NamedTuple):
    """One entry of `results`: what some rules should make of some resources.

    Attributes:
        path: Where it stands in the file, `results[3]`.
        policy: `name`, or `namespace/name`.
        rule: Name of the rule as written; empty for all rules.
        result: `pass`, `fail`, `skip`, `warn` or `error`.
        operation: The operation to simulate; empty for that of the values.
        resources: `name` or `namespace/name`; None where the field is absent, which means all resources.
        specs: (apiVersion, namespace, name) of `resourceSpecs`; looked at only beside `resources`, as in Kyverno.
        patched: File with the expected patched resources; empty for none.
        generated: Files with the expected generated resources, of which one must match.
        generated_singly: It was written as `generatedResource`: the failure is worded for that.
        clone_source: File with what a generate rule clones; empty for none.
        fail_on_missing: A patched resource that the file does not hold fails instead of being passed over.
        deletes: It is about a deleting policy.
    """

    path: str
    policy: str
    rule: str
    result: str
    operation: str
    resources: tuple[str, ...] | None
    specs: tuple[tuple[str, str, str], ...]
    patched: str
    generated: tuple[str, ...]
    generated_singly: bool
    clone_source: str
    fail_on_missing: bool
    deletes: bool


class Manifest(NamedTuple):
    """A test.

    Attributes:
        name: Its name.
        files: For each field that lists files, their names as written, without repetitions.
        values_file: File with Values; empty for none.
        values: Values given inline; None where there are none.
        user_file: File with UserInfo; empty for none.
        context_file: File with what CEL libraries read; empty for none.
        calls: What calls answer.
        global_entries: What GlobalContextEntries hold.
        expected: The entries of `results`.
    """

    name: str
    files: Mapping[str, tuple[str, ...]]
    values_file: str
    values: values.Values | None
    user_file: str
    context_file: str
    calls: Mapping[tuple[str, str], answers.Reply]
    global_entries: Sequence[mocks.GlobalEntry]
    expected: tuple[Expected, ...]


def load(document: files.Document) -> Manifest:
    """Read a test.

    Args:
        document: One document of its file.

    Raises:
        InputInvalid: With all that is wrong with it.
    """
    problems = fields.Problems()
    found = _read(document.value, problems)
    document.raise_if_any(problems)
    return found


def _read(document: Any, problems: fields.Problems) -> Manifest:
    top = fields.Fields(files.folded(document, _TEST), "", problems, _TEST)
    for name in ("apiVersion", "kind"):
        if not top.text(name):
            top.wrong(name, f"is required: {'cli.kyverno.io/v1alpha1' if name == 'apiVersion' else 'Test'}")
    if "name" in top:
        top.wrong("name", "this spelling is no longer read: write metadata.name")
    metadata = top.raw("metadata")
    listed = {name: tuple(dict.fromkeys(top.texts(name))) for name in _FILES}
    payloads = listed["jsonPayloads"] or tuple(filter(None, (top.text("jsonPayload"),)))
    listed["jsonPayloads"] = tuple(dict.fromkeys(posixpath.normpath(each) for each in payloads if each.strip()))
    inline = None
    if "values" in top:
        spec = fields.Fields(top.raw("values"), "values", problems, values.SPEC)
        inline = values.read(spec)
    return Manifest(
        name=str(metadata.get("name") or "") if isinstance(metadata, Mapping) else "",
        files=listed,
        values_file=top.text("variables"),
        values=inline,
        user_file=top.text("userinfo"),
        context_file=top.text("context"),
        calls=mocks.calls(top),
        global_entries=mocks.global_entries(top),
        expected=tuple(_expected(entry, path, problems) for entry, path in top.items("results")),
    )


def _expected(document: Any, path: str, problems: fields.Problems) -> Expected:
    entry = fields.Fields(files.folded(document, _RESULT), path, problems, _RESULT)
    policy = entry.text("policy")
    if not policy:
        entry.wrong("policy", "is required: the name of a policy")
    result = entry.text("result", among=RESULTS)
    if "result" not in entry:
        entry.wrong("result", f"is required: one of {', '.join(RESULTS)}")
    entry.text("kind")
    for name in _KINDS_SAID:
        entry.boolean(name, default=False)
    operation = entry.text("operation", among=OPERATIONS)
    if operation and entry.boolean("isDeletingPolicy", default=False):
        entry.wrong("operation", "operation is not supported for deleting policies")
    several = entry.texts("generatedResources")
    single = entry.text("generatedResource")
    return Expected(
        path=path,
        policy=policy,
        rule=entry.text("rule"),
        result=result,
        operation=operation,
        resources=entry.texts("resources") if "resources" in entry else None,
        specs=tuple(_spec(each, where, problems) for each, where in entry.items("resourceSpecs")),
        patched=entry.text("patchedResources"),
        generated=several or ((single,) if single else ()),
        generated_singly=not several,
        clone_source=entry.text("cloneSourceResource"),
        fail_on_missing=entry.boolean("failOnMissingResources", default=False),
        deletes=entry.boolean("isDeletingPolicy", default=False),
    )


def _spec(document: Any, path: str, problems: fields.Problems) -> tuple[str, str, str]:
    spec = fields.Fields(document, path, problems, ("group", "version", "kind", "namespace", "subresource", "name"))
    group, version = spec.text("group"), spec.text("version")
    for name in ("kind", "subresource"):
        spec.text(name)
    return f"{group}/{version}" if group else version, spec.text("namespace"), spec.text("name")
