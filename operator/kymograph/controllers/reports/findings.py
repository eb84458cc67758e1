"""What policies found in one object, on its way into the object's report.

Whoever evaluates policies (admission now, scans of existing objects likewise) makes `Findings`; the writer merges them
into the report. Findings on the same object add up: each policy's latest word counts.
"""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, TypeAlias

from opentelemetry.trace import SpanContext

from kymograph.controllers.reports import forms
from kymograph.engine.evaluate import PolicyResult, RuleResult
from kymograph.engine.rules import outcome
from kymograph.model import policyreport as model
from kymograph.telemetry import credentials

SOURCE = "kyverno"
"""`source` of the results of policies of kyverno.io, as dashboards filter by it."""

ADMISSION: Mapping[str, str] = {"process": "admission review"}
BACKGROUND: Mapping[str, str] = {"process": "background scan"}
"""The property that says which process a result is due to: by the policy's `background`, as in Kyverno, so that a
review and a scan that find the same say the same."""

TRACE = "trace"
"""The property that says where the trace can be looked at in which a rule was first found to fail as it does."""

MOST_MESSAGE = 4096
"""Characters of a message that are kept: hundreds of results then still fit into one object of etcd (1.5 MB)."""

MOST_LINKS = 16
"""Requests that one write is linked to; the latest of an object that many requests changed."""

_TRACED = frozenset({outcome.FAIL, outcome.ERROR})
_NO_TRACE: Mapping[str, str] = {}

_UNREPORTED = frozenset({("", "Event"), ("events.k8s.io", "Event")})

Row: TypeAlias = Mapping[str, Any]
"""One entry of a report's `results`."""


class Found(NamedTuple):
    """What one policy found at one time; made into entries of a report only where they are written.

    Attributes:
        result: The results of its rules; None where it has nothing to say of the object (any more).
        at: When, in nanoseconds since the epoch.
        reviewed: The `confirmation.digest` of what an unproven review showed; empty where the stored object was read.
        trace: Where the trace of that can be looked at; empty for nowhere.
    """

    result: PolicyResult | None
    at: int
    reviewed: bytes = b""
    trace: str = ""


ByPolicy: TypeAlias = Mapping[str, Found]
"""What policies found, by their keys: `name` or `namespace/name`. `of_rule` is the key of background work."""


class Subject(NamedTuple):
    """The object that a report is about; `namespace` is empty for a cluster-scoped one.

    The uid is empty where an object was seen before it had one: whoever writes its report finds that out.
    """

    group: str
    version: str
    kind: str
    namespace: str
    name: str
    uid: str

    @property
    def api_version(self) -> str:
        """`group/version`, or the version alone for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def key(self) -> str:
        """What tells it from others: the uid; kind and name where that is not known."""
        return self.uid or f"{self.group}/{self.kind}/{self.namespace}/{self.name}"


@dataclasses.dataclass(frozen=True, slots=True)
class Findings:
    """What policies found in an object, by one evaluation or several.

    Attributes:
        subject: The object.
        plural: The resource that serves it; empty where only the report itself is looked at, because results are to go.
        latest: What the latest evaluation found.
        settled: What evaluations before it found.
        replaces: The object's resourceVersion before the request that `latest` is about. While the object still has
            it, that request was refused by somebody else, or changed nothing. Empty for a new object and for scans.
        fresh: There is probably no report: the object was new, or a scan saw none.
        proven: The object was read from the API server by who found this, and is not to be read again.
        requests: The spans of the requests, scans or sweeps that were traced.
        late: The object was not there when it was looked for first.
    """

    subject: Subject
    plural: str = ""
    latest: ByPolicy = dataclasses.field(default_factory=dict)
    settled: ByPolicy = dataclasses.field(default_factory=dict)
    replaces: str = ""
    fresh: bool = False
    proven: bool = False
    requests: tuple[SpanContext, ...] = ()
    late: bool = False

    def then(self, later: "Findings") -> "Findings":
        """These findings and later ones on the same object."""
        if not later.plural and not later.latest:
            return self
        if not self.plural and not self.latest:
            return later
        if not later.plural:
            return dataclasses.replace(self, latest={**self.latest, **later.latest})
        if not self.plural:
            return dataclasses.replace(later, settled={**self.latest, **later.settled})
        latest, settled = later.latest, {**self.settled, **self.latest, **later.settled}
        if later.replaces == self.replaces and not later.settled:  # of the same state of the object: none is settled
            latest, settled = {**self.latest, **later.latest}, dict(self.settled)
        return dataclasses.replace(
            later,
            latest=latest,
            settled=settled,
            fresh=self.fresh and later.fresh,
            proven=self.proven and later.proven,
            requests=(*self.requests, *later.requests)[-MOST_LINKS:],
        )

    def of(self, resource_version: str) -> ByPolicy:
        """What counts for the object as it is stored now, in the version given."""
        if self.replaces and self.replaces == resource_version:
            return self.settled
        return {**self.settled, **self.latest}


def of_rule(policy: str, rule: str) -> str:
    """The key under which `ByPolicy` holds what background work came to: about one rule, beside what its policy found.

    Args:
        policy: Key of the policy.
        rule: Name of a rule that generates, or that mutates targets.
    """
    return f"{policy}\0{rule}"


def subject_of(request: Mapping[str, Any]) -> Subject | None:
    """The object of a request, as a report is about it; None where there is to be none, or no uid is known."""
    document, kind = request.get("object"), request["kind"]
    if document is None or request.get("subResource") or not is_reported_kind(kind["group"], kind["kind"]):
        return None
    metadata = document["metadata"]
    uid, name, namespace = (metadata.get(field) or "" for field in ("uid", "name", "namespace"))
    if not uid or not name:
        return None
    return Subject(kind["group"], kind["version"], kind["kind"], namespace, name, uid)


def is_reported_kind(group: str, kind: str) -> bool:
    """Whether objects of a kind get reports.

    Reports get none: that would be followed by a report on the report. Events are gone within the hour, and reports on
    them would outnumber all others.
    """
    return group not in forms.GROUPS and (group, kind) not in _UNREPORTED


def rows(found: Found, allowed: Collection[str] = model.RESULTS) -> tuple[Row, ...]:
    """What one policy found, as entries of a report; only these results."""
    if found.result is None:
        return ()
    policy = found.result.policy
    process = BACKGROUND if policy.background else ADMISSION
    seconds, nanos = divmod(found.at, 1_000_000_000)
    constant: dict[str, Any] = {
        "source": SOURCE,
        "policy": policy.key,
        "scored": policy.scored,
        "timestamp": {"seconds": seconds, "nanos": nanos},
    }
    if policy.category:
        constant["category"] = policy.category
    if policy.severity in model.SEVERITIES:  # the API server refuses a report with any other word
        constant["severity"] = policy.severity
    trace = {TRACE: found.trace} if found.trace else _NO_TRACE
    return tuple(
        {
            **constant,
            "rule": each.rule.name,
            "result": outcome.WARN if each.status == outcome.FAIL and not policy.scored else each.status,
            "message": credentials.redacted(_message(each))[:MOST_MESSAGE],
            "properties": {**each.properties, **process, **(trace if each.status in _TRACED else _NO_TRACE)},
        }
        for each in found.result.rules
        if each.status in allowed
    )


def _message(result: RuleResult) -> str:
    """The rule's message, or what its `reportProperties` say instead: `message`, else `failMessage` and the like."""
    properties = result.properties
    return properties.get("message") or properties.get(f"{result.status}Message") or result.message
