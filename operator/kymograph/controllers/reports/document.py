"""A report as a document: what is stored and what was found, merged. Pure.

Results of other sources, which share the report where Kyverno or another engine worked before, are carried along and
counted; only results of policies of kyverno.io are replaced or removed.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import orjson

from kymograph.controllers.reports import findings, forms
from kymograph.model import policyreport as model

MANAGED_BY = ("app.kubernetes.io/managed-by", "kyverno")
"""The label of our reports: Kyverno's, so that tools find them and Kyverno's own reports go on as ours."""

Reported: TypeAlias = Callable[[str, str], str]
"""The type of a rule of a policy (`name` or `namespace/name`); empty where it is not to be reported on."""


def merged(
    subject: findings.Subject,
    stored: Mapping[str, Any] | None,
    found: findings.ByPolicy,
    reported: Reported,
    form: forms.Form = forms.POLICY_REPORTS,
) -> dict[str, Any] | None:
    """The report as it ought to be, or None where no result is left.

    Args:
        subject: The object it is about.
        stored: The report as it is; a result that says what it did keeps its timestamp.
        found: The policies evaluated, each with its results: they replace those it had.
        reported: Whose results are kept.
        form: The API that it is written in.
    """
    results = [
        row
        for row in results_of(stored)
        if row.get("source") != findings.SOURCE
        or (not _is_replaced(row, found, reported) and reported(row.get("policy", ""), row.get("rule", "")))
    ]
    results += [
        row
        for each in found.values()
        for row in findings.rows(each, form.results)
        if reported(row["policy"], row["rule"])
    ]
    if not results:
        return None
    if stored is not None:
        before = {_order(row): row for row in results_of(stored)}
        results = [_kept(before.get(_order(row)), row) for row in results]
    results.sort(key=_order)
    scope = {"apiVersion": subject.api_version, "kind": subject.kind, "name": subject.name, "uid": subject.uid}
    metadata: dict[str, Any] = {
        "name": subject.uid,
        "labels": dict([MANAGED_BY]),
        "ownerReferences": [scope],
    }
    if subject.namespace:
        metadata["namespace"] = subject.namespace
        scope = {**scope, "namespace": subject.namespace}
    resource = form.resource(subject.namespace)
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": metadata,
        "scope": scope,
        "results": results,
        "summary": summary(results),
    }


def summary(results: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many results there are of each kind."""
    counts = dict.fromkeys(model.RESULTS, 0)
    for row in results:
        result = row.get("result")
        if result in counts:
            counts[result] += 1
    return counts


def tells(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a stored report says all that is wanted; when it was found does not matter."""
    before, after = results_of(stored), wanted["results"]
    return (
        len(before) == len(after)
        and all(_timeless(old) == _timeless(new) for old, new in zip(before, after, strict=True))
        and stored.get("summary") == wanted["summary"]
        and stored.get("scope") == wanted["scope"]
        and stored["metadata"].get("ownerReferences") == wanted["metadata"]["ownerReferences"]
        and is_ours(stored)
    )


def digest(results: Iterable[Mapping[str, Any]], policies: Collection[str], reported: Reported) -> bytes:
    """16 bytes that stand for what results of ours say of the judgement of some policies, whenever it was found."""
    ours = (
        row
        for row in results
        if row.get("source") == findings.SOURCE and row.get("policy") in policies and is_judgement(row, reported)
    )
    said = [_timeless(row) for row in sorted(ours, key=_order)]
    return hashlib.blake2b(orjson.dumps(said, option=orjson.OPT_SORT_KEYS), digest_size=16).digest()


def is_outdated(stored: Mapping[str, Any], reported: Reported) -> bool:
    """Whether a report holds results of policies or rules that are gone."""
    return any(
        row.get("source") == findings.SOURCE and not reported(row.get("policy", ""), row.get("rule", ""))
        for row in results_of(stored)
    )


def is_ours(stored: Mapping[str, Any]) -> bool:
    """Whether a report carries our label."""
    key, value = MANAGED_BY
    return bool((stored["metadata"].get("labels") or {}).get(key) == value)


def subject_of(stored: Mapping[str, Any]) -> findings.Subject | None:
    """The object that a stored report is about; None where the report is not one of ours, named by a uid."""
    metadata, scope = stored["metadata"], stored.get("scope") or {}
    if metadata["name"] != scope.get("uid") or not is_ours(stored):
        return None
    group, _, version = str(scope.get("apiVersion", "")).rpartition("/")
    return findings.Subject(
        group, version, scope.get("kind", ""), metadata.get("namespace", ""), scope.get("name", ""), metadata["name"]
    )


def results_of(stored: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """The results of a stored report."""
    return [] if stored is None else stored.get("results") or []


def _order(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row.get("policy", ""), row.get("rule", ""), row.get("source", "")


def _is_replaced(row: Mapping[str, Any], found: findings.ByPolicy, reported: Reported) -> bool:
    """Whether a stored result has been found anew; what a rule changed or made is no business of those that judge."""
    policy, rule = row.get("policy", ""), row.get("rule", "")
    return findings.of_rule(policy, rule) in found or (policy in found and is_judgement(row, reported))


def is_judgement(row: Mapping[str, Any], reported: Reported) -> bool:
    """Whether a result of ours is of a rule that judges objects, as far as is known."""
    return reported(row.get("policy", ""), row.get("rule", "")) not in ("mutate", "generate")


def _kept(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> Mapping[str, Any]:
    return old if old is not None and _timeless(old) == _timeless(new) else new


def _timeless(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a result says, without when and in which trace that was first found."""
    said = {key: value for key, value in row.items() if key != "timestamp"}
    properties = row.get("properties")
    if properties and findings.TRACE in properties:
        said["properties"] = {key: value for key, value in properties.items() if key != findings.TRACE}
    return said
