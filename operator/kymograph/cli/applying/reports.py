"""Results as the report that `kyverno apply --policy-report` prints: `openreports.io/v1alpha1`.

All ClusterPolicies share one ClusterReport named `merged`; each Policy has a report of its own, whose kind Kyverno
calls PolicyReport. Results keep the order of the objects. PolicyExceptions are made from the same facts.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from kymograph.apimachinery import yamlwriting
from kymograph.cli.applying import counting, messages
from kymograph.cli.offline import judge, reported
from kymograph.engine import results
from kymograph.engine.rules import outcome
from kymograph.model import policyreport

API_VERSION = "openreports.io/v1alpha1"
MERGED = ""
"""The key of the report on all ClusterPolicies."""


def key_of(response: judge.Response) -> str:
    """Which report the results of a policy belong to: the policy's key, or `MERGED` for one without a namespace."""
    key = messages.key_of(response.policy)
    return key if "/" in key else MERGED


def rows(response: judge.Response, *, softened: bool, seconds: int) -> list[dict[str, Any]]:
    """The results of a policy on an object as entries of a report.

    Args:
        response: The results.
        softened: Failures are warnings.
        seconds: The time, since 1970.
    """
    return [_row(response, result, softened=softened, seconds=seconds) for result in response.results]


def _row(response: judge.Response, result: results.RuleResult, *, softened: bool, seconds: int) -> dict[str, Any]:
    policy = response.policy
    process = "background scan" if policy.background else "admission review" if policy.admission else ""
    row: dict[str, Any] = {
        "source": "kyverno",
        "policy": messages.key_of(policy),
        "rule": result.rule.name,
        "message": reported.message(result),
        "properties": {**result.properties, "process": process},
        "result": counting.shown(policy, result.status, softened=softened),
        "resources": [_reference(response.resource)],
        "scored": policy.scored,
        "timestamp": {"nanos": 0, "seconds": seconds},
        "category": policy.category,
        "severity": policy.severity if policy.severity in policyreport.SEVERITIES else "",
    }
    return {field: value for field, value in row.items() if value or field in ("source", "policy")}


def _reference(resource: Mapping[str, Any]) -> dict[str, Any]:
    metadata = resource.get("metadata") or {}
    found = {
        "apiVersion": resource.get("apiVersion"),
        "kind": resource.get("kind"),
        "name": metadata.get("name"),
        "namespace": metadata.get("namespace"),
        "resourceVersion": metadata.get("resourceVersion"),
        "uid": metadata.get("uid"),
    }
    return {field: value for field, value in found.items() if value}


def written_rows(entries: Iterable[Mapping[str, Any]], *, as_json: bool) -> str:
    """Entries as they stand in the `results` of a report; entries in JSON end with a comma each."""
    if as_json:
        return "".join(f"{orjson.dumps(entry, option=orjson.OPT_SORT_KEYS).decode()}," for entry in entries)
    found = list(entries)
    return yamlwriting.dump(found) if found else ""


def head(key: str, *, as_json: bool) -> str:
    """What stands before the results of a report."""
    namespace, _, name = key.rpartition("/")
    top: dict[str, Any] = {"apiVersion": API_VERSION, "kind": "ClusterReport", "metadata": {"name": "merged"}}
    if key != MERGED:
        top = {**top, "kind": "PolicyReport", "metadata": {"name": name, "namespace": namespace}}
    if as_json:
        return f'{orjson.dumps(top).decode()[:-1]},"results":['
    return f"{yamlwriting.dump(top)}results:\n"


def foot(counts: counting.Counts, *, as_json: bool) -> str:
    """What stands behind the results of a report."""
    summary = dict(zip(counting.STATUSES, counts, strict=True))
    bottom = {"source": "", "summary": summary}
    if as_json:
        return f"],{orjson.dumps(bottom).decode()[1:]}\n"
    return f"{yamlwriting.dump(bottom)}\n"


def summarised(entries: Iterable[Mapping[str, Any]]) -> counting.Counts:
    """How many entries of each result there are."""
    counts = dict.fromkeys(counting.STATUSES, 0)
    for entry in entries:
        counts[entry["result"]] += 1
    return counting.Counts(*counts.values())


def exceptions(response: judge.Response, entries: Iterable[Mapping[str, Any]], ttl: str) -> list[dict[str, Any]]:
    """PolicyExceptions that would let through what failed under a ClusterPolicy.

    Args:
        response: The results of a policy on an object.
        entries: The same results, as `rows` gives them.
        ttl: How long they live, as in the label `cleanup.kyverno.io/ttl`; empty for ever.
    """
    if key_of(response) != MERGED:
        return []
    return [_exception(entry, ttl) for entry in entries if entry["result"] == outcome.FAIL]


def _exception(entry: Mapping[str, Any], ttl: str) -> dict[str, Any]:
    subject = entry["resources"][0]
    kind, name, namespace = subject["kind"], subject.get("name", ""), subject.get("namespace", "")
    rule: str = entry["rule"]
    kinds, names, rules = [kind], [name], [rule]
    if rule.startswith("autogen-"):
        if kind == "CronJob":
            kinds.append("Job")
            rules.append(rule.replace("autogen-cronjob-", "autogen-"))
        kinds.append("Pod")
        rules.append(rule.removeprefix("autogen-cronjob-" if kind == "CronJob" else "autogen-"))
        names.append(f"{name}-*")
    resources: dict[str, Any] = {"kinds": kinds, "names": names, "namespaces": [namespace]}
    spec: dict[str, Any] = {
        "match": {"all": [{"resources": resources}]},
        "exceptions": [{"policyName": entry["policy"], "ruleNames": rules}],
    }
    controls = orjson.loads(entry.get("properties", {}).get("controlsJSON") or "[]")
    if controls:
        spec["podSecurity"] = [_control(control) for control in controls]
    metadata: dict[str, Any] = {"name": "-".join((entry["policy"], rule, namespace, name))}
    if ttl:
        metadata["labels"] = {"cleanup.kyverno.io/ttl": ttl}
    return {"apiVersion": "kyverno.io/v2beta1", "kind": "PolicyException", "metadata": metadata, "spec": spec}


def _control(control: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"controlName": control["Name"]}
    if control.get("Images"):
        found["images"] = [_any_tag(image) for image in control["Images"]]
    return found


def _any_tag(image: str) -> str:
    """The image with whatever tag or digest: what follows the first `:` or `@` is a wildcard."""
    end = min((at for at in (image.find(":"), image.find("@")) if at >= 0), default=len(image))
    return f"{image[:end]}*" if end < len(image) else image
