"""Policies from files: compiled, or with the reason why they are not.

Three things can keep a policy from being applied, and users must be able to tell them apart: it is of a kind or uses a
field that this version does not implement; it is a policy that Kyverno too would reject; it is no policy at all.
"""

import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from kymograph.apimachinery import gvk
from kymograph.cli.offline import errors, files
from kymograph.engine import compile as compiling
from kymograph.engine import errors as engine_errors
from kymograph.engine import exceptions as policy_exceptions
from kymograph.engine import policy, validation

UNSUPPORTED = "not supported by this version of Kymograph"

_SUFFIXES = (".yaml", ".yml")
_NOT_YET = {
    "policies.kyverno.io": (
        "ValidatingPolicy",
        "NamespacedValidatingPolicy",
        "MutatingPolicy",
        "NamespacedMutatingPolicy",
        "GeneratingPolicy",
        "NamespacedGeneratingPolicy",
        "DeletingPolicy",
        "NamespacedDeletingPolicy",
        "ImageValidatingPolicy",
        "NamespacedImageValidatingPolicy",
    ),
    "admissionregistration.k8s.io": ("ValidatingAdmissionPolicy", "MutatingAdmissionPolicy"),
    "kyverno.io": ("CleanupPolicy", "ClusterCleanupPolicy"),
}
_BESIDE_POLICIES = ("ValidatingAdmissionPolicyBinding", "MutatingAdmissionPolicyBinding", "PolicyException")
_EVALUATED_ELSEWHERE = engine_errors.Problem(
    "spec.webhookConfiguration.matchConditions",
    f"matchConditions are {UNSUPPORTED} without a cluster: they are CEL, which API servers evaluate",
)
"""Why a policy with match conditions is not applied here: whether it is about an object cannot be said."""
_UNSUPPORTED = re.compile(rf" (?:is|are) {re.escape(UNSUPPORTED)}.*", re.DOTALL)
_STRUCTURAL = re.compile(r"unknown field|must be (?:an? (?:object|list|string|integer)|true or false)\b")
"""What is said of a field that the schema of the kind does not allow: such a policy is none, and its test no test."""


class Refused(NamedTuple):
    """A policy that is not applied.

    Attributes:
        name: Its name.
        kind: Its kind.
        unsupported: The kinds or fields that this version does not implement; empty for an invalid policy.
        reason: Why, in a line for each problem.
        problem: Where the first problem is.
    """

    name: str
    kind: str
    unsupported: tuple[str, ...]
    reason: str
    problem: errors.InputProblem


class Loaded(NamedTuple):
    """What files of policies hold.

    Attributes:
        compiled: The policies that can be applied, with their documents, in the order of the files.
        refused: The others.
        strange: What is no policy, said for the user.
    """

    compiled: tuple[tuple[policy.CompiledPolicy, files.Document], ...]
    refused: tuple[Refused, ...]
    strange: tuple[errors.InputProblem, ...]


def paths(path: pathlib.Path) -> list[pathlib.Path]:
    """The files of policies behind a path: itself, or what a folder and those below it hold, in order.

    Args:
        path: A file or a folder; names that begin with a dot are passed over, as are files that are no YAML.
    """
    if path.name.startswith(".") and path.name not in (".", ".."):
        return []
    if path.is_dir():
        return [found for entry in sorted(path.iterdir()) for found in paths(entry)]
    return [path] if path.suffix in _SUFFIXES or not path.exists() else []


def load(documents: Iterable[files.Document]) -> Loaded:
    """Compile policies.

    Args:
        documents: The documents of their files.
    """
    compiled, refused, strange = [], [], []
    for document in documents:
        value = document.value
        kind = value.get("kind") if isinstance(value, Mapping) else None
        group = gvk.split_api_version(str(value.get("apiVersion") or ""))[0] if kind else ""
        if kind in _NOT_YET.get(group, ()):
            problem = document.problem("", f"{kind} is {UNSUPPORTED}")
            refused.append(Refused(_name(value), str(kind), (str(kind),), problem.reason, problem))
        elif kind in compiling.KINDS and group == compiling.GROUP:
            try:
                found = compiling.compile_policy(value, admits_signed=True)
            except engine_errors.PolicyInvalid as invalid:
                refused.append(_refuse(document, invalid.problems))
            else:
                if found.match_conditions:
                    refused.append(_refuse(document, (_EVALUATED_ELSEWHERE,)))
                else:
                    compiled.append((found, document))
        elif kind not in _BESIDE_POLICIES:
            strange.append(document.problem("", f"{kind or 'a document without a kind'} is no policy"))
    return Loaded(tuple(compiled), tuple(refused), tuple(strange))


def refuse_deprecated(documents: Iterable[files.Document]) -> None:
    """Give up where policies use what is deprecated (`--warnings-as-errors`).

    No kind of policy is: Kyverno's warnings that it will drop `kyverno.io` say nothing about this implementation.

    Args:
        documents: Policies that compile.

    Raises:
        InputInvalid: With every deprecated field, value or operator.
    """
    found = [
        document.problem("", warning)
        for document in documents
        for warning in validation.warnings(document.value)
        if "deprecated" in warning
    ]
    if found:
        raise errors.InputInvalid(tuple(found))


def exceptions(documents: Iterable[files.Document]) -> Iterator[policy_exceptions.CompiledException]:
    """Compile PolicyExceptions.

    Args:
        documents: The documents of their files. Exceptions to policies that this version cannot apply are passed over.

    Raises:
        InputInvalid: A document is no PolicyException, or a wrong one.
    """
    for document in documents:
        value = document.value if isinstance(document.value, Mapping) else {}
        group = gvk.split_api_version(str(value.get("apiVersion") or ""))[0]
        if value.get("kind") == policy_exceptions.KIND and group in _NOT_YET and group != policy_exceptions.GROUP:
            continue
        try:
            yield policy_exceptions.compile_exception(value)
        except engine_errors.PolicyInvalid as invalid:
            problems = tuple(document.problem(each.path, each.reason) for each in invalid.problems)
            raise errors.InputInvalid(problems) from invalid


def _refuse(document: files.Document, problems: Sequence[engine_errors.Problem]) -> Refused:
    unsupported = [each for each in problems if UNSUPPORTED in each.reason]
    first, *_ = unsupported or problems
    structural = [] if unsupported else [each for each in problems if _STRUCTURAL.match(each.reason)]
    if structural:
        raise errors.InputInvalid(tuple(document.problem(each.path, each.reason) for each in structural))
    return Refused(
        name=_name(document.value),
        kind=str(document.value["kind"]),
        unsupported=tuple(dict.fromkeys(_UNSUPPORTED.sub("", each.reason) for each in unsupported)),
        reason="\n".join(dict.fromkeys(map(str, unsupported or problems))),
        problem=document.problem(first.path, first.reason),
    )


def _name(value: Mapping[str, Any]) -> str:
    metadata = value.get("metadata")
    return str(metadata.get("name") or "") if isinstance(metadata, Mapping) else ""
