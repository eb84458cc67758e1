"""Every kind of work is a trace of a known form where it arrives: `trees/*.tree`, one installed operator for all."""

import contextlib
import itertools
import json
import os
import pathlib
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kymograph.objecttrace import spans as wire
from support import kinds, trees, webhookorder
from support.installed import eventually

TREES = pathlib.Path(__file__).parent / "trees"
PATIENCE = 90.0
AGAIN_AFTER = 10.0
"""Seconds until work is done again that came in another form, or did not come."""

SETTLED = 10.0
"""Seconds until a trace is whole, for who writes a tree; who compares waits until it is what is written."""

ACCOUNT = "system:serviceaccount:kymograph:kymograph"
VERBS = ["get", "list", "watch", "create", "update", "patch", "delete"]

LOOKED_UP = re.compile(r":\d+/(api|apis|api/v1|apis/[^/]+/[^/]+)$")
"""The paths under which API servers say what they serve."""

Wanted = Callable[[wire.Span], bool]


def config_map(name: str, content: dict[str, str] | None = None, **metadata: Any) -> dict[str, Any]:
    """A ConfigMap in the namespace of this module."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "treed", **metadata},
        "data": content or {},
    }


def policy(name: str, rule: dict[str, Any], names: list[str], **spec: Any) -> dict[str, Any]:
    """A ClusterPolicy with one rule about ConfigMaps of some names."""
    matched = {"any": [{"resources": {"kinds": ["ConfigMap"], "namespaces": ["treed"], "names": names}}]}
    return {
        "apiVersion": "kyverno.io/v1",
        "kind": "ClusterPolicy",
        "metadata": {"name": name},
        "spec": {**spec, "rules": [{"name": name, "match": matched, **rule}]},
    }


SETTING = {"apiVersion": "v1", "kind": "ConfigMap", "namespace": "treed"}
JUDGED = policy(
    "treed-validate",
    {
        "context": [
            {"name": "limits", "configMap": {"name": "limits", "namespace": "treed"}},
            {"name": "spaces", "apiCall": {"urlPath": "/api/v1/namespaces", "jmesPath": "length(items)"}},
        ],
        "preconditions": {"all": [{"key": "{{ limits.data.tier }}", "operator": "Equals", "value": "gold"}]},
        "validate": {
            "failureAction": "Enforce",
            "message": "no",
            "deny": {"conditions": {"all": [{"key": "{{ spaces }}", "operator": "GreaterThan", "value": 0}]}},
        },
    },
    ["judged-*"],
    background=False,  # a scan for it could become one with that for AUDITED, and their spans a tree of another form
)
EXCEPTION = {
    "apiVersion": "kyverno.io/v2",
    "kind": "PolicyException",
    "metadata": {"name": "treed", "namespace": "kymograph"},
    "spec": {
        "exceptions": [{"policyName": "treed-validate", "ruleNames": ["treed-validate"]}],
        "match": {"any": [{"resources": {"kinds": ["ConfigMap"], "names": ["other"]}}]},
    },
}
MUTATED = policy(
    "treed-mutate", {"mutate": {"patchStrategicMerge": {"metadata": {"labels": {"seen": "yes"}}}}}, ["mutated-*"]
)
GENERATED = policy(
    "treed-generate",
    {"generate": {**SETTING, "name": "made", "synchronize": False, "data": {"data": {"a": "1"}}}},
    ["trigger-generate"],
)
KEPT = policy(
    "treed-synchronize",
    {"generate": {**SETTING, "name": "kept", "synchronize": True, "data": {"data": {"a": "1"}}}},
    ["trigger-kept"],
)
CHANGED = policy(
    "treed-existing",
    {"mutate": {"targets": [{**SETTING, "name": "limits"}], "patchStrategicMerge": {"data": {"by": "trigger"}}}},
    ["trigger-mutate"],
)
AUDITED = policy(
    "treed-audit",
    {"validate": {"failureAction": "Audit", "message": "no", "pattern": {"metadata": {"labels": {"team": "?*"}}}}},
    ["scanned-*"],
)
CLEANED = {
    "apiVersion": "kyverno.io/v2",
    "kind": "ClusterCleanupPolicy",
    "metadata": {"name": "treed-cleanup"},
    "spec": {
        "schedule": "@every 1s",
        "match": {"any": [{"resources": {"kinds": ["ConfigMap"], "namespaces": ["treed"], "names": ["scratch-*"]}}]},
    },
}
ENTRY = {
    "apiVersion": "kyverno.io/v2alpha1",
    "kind": "GlobalContextEntry",
    "metadata": {"name": "treed"},
    "spec": {"apiCall": {"urlPath": "/api/v1/namespaces", "refreshInterval": "2s"}},
}


def role(name: str, label: str) -> dict[str, Any]:
    """A ClusterRole that lets the operator write ConfigMaps."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name, "labels": {label: "true"}},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": VERBS}],
    }


def definition(description: str) -> dict[str, Any]:
    """A kind that nobody needs: whoever wants to know what is served asks anew when it comes or changes."""
    return kinds.definition("treed.example", "things", "Thing", description=description)


def about(name: str, key: str = "", value: str = "") -> Wanted:
    """A span by its name, and by one of its attributes; a value that ends in `*` is the beginning of one."""
    prefix = value.removesuffix("*")

    def wanted(span: wire.Span) -> bool:
        if span.name != name or span.service != "kymograph":
            return False
        said = str(span.attributes.get(key, ""))
        return not key or said == value or (prefix != value and said.startswith(prefix))

    return wanted


@pytest.fixture(scope="module")
def world(installed) -> Iterator[Any]:
    """What all tests of this module need: the namespace, what the operator is granted, and the policies."""
    with contextlib.ExitStack() as stack:

        def apply(document: dict[str, Any]) -> None:
            kind, metadata = document["kind"], document["metadata"]
            where = ["-n", metadata["namespace"]] if "namespace" in metadata else []
            gone = ("delete", kind, metadata["name"], *where, "--ignore-not-found", "--wait=false")
            stack.callback(installed.kubectl, *gone)
            eventually(lambda: installed.kubectl("apply", "-f", "-", given=document, check=False).returncode == 0, 60)

        stack.callback(installed.forget_policies)
        apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "treed"}})
        apply(role("treed-background", "rbac.kymograph.dev/aggregate-to-background"))
        apply(role("treed-cleanup", "rbac.kymograph.dev/aggregate-to-cleanup"))
        may = ("auth", "can-i", "delete", "configmaps", f"--as={ACCOUNT}")
        eventually(lambda: installed.kubectl(*may, check=False).stdout.strip() == "yes", 60)
        apply(definition("came"))  # sooner than in a minute it is found out what may be cleaned up
        apply(config_map("limits", {"tier": "gold"}))
        apply(config_map("scanned-before"))
        apply(EXCEPTION)
        for document in (JUDGED, MUTATED, GENERATED, KEPT, CHANGED, AUDITED):
            eventually(
                lambda document=document: (
                    installed.kubectl("apply", "-f", "-", given=document, check=False).returncode == 0
                )
            )
            installed.kubectl("wait", "--for=condition=Ready", "cpol", document["metadata"]["name"], "--timeout=60s")
        webhookorder.until_in_force(installed.cluster.api)
        yield apply


@pytest.fixture
def arrives(otlp) -> Callable[..., None]:
    """Waits until a trace of the form of a golden tree has arrived; a span and what is below it.

    Work can come in another form, or not at all, for what else goes on in the cluster: then it is done again, as often
    as there is time for it. Each test says how.
    """

    def arrives(name: str, wanted: Wanted, again: Callable[[], object] | None = None) -> None:
        drawn = ""

        def there() -> bool:
            nonlocal drawn
            for root in [span for span in otlp.received() if wanted(span)]:
                drawn = trees.outline([span for span in otlp.trace(root.trace_id) if span.service == "kymograph"], root)
                if trees.agree(TREES / f"{name}.tree", drawn):
                    return True
            return False

        if trees.WRITE in os.environ:
            time.sleep(SETTLED)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(AssertionError):
                eventually(there, PATIENCE if again is None else AGAIN_AFTER)
                return
            if again is not None:
                again()
        assert drawn == (TREES / f"{name}.tree").read_text(), f"{trees.WRITE}=1 writes it anew"

    return arrives


@pytest.fixture
def another() -> Callable[[str], str]:
    """Names that nothing has had, by what they begin with."""
    numbers = itertools.count(1)
    return lambda beginning: f"{beginning}-{next(numbers)}"


def test_a_review_that_denies(installed, world, arrives, another) -> None:
    """Match, each entry of the context with the call that it needs, preconditions, an exception about others.

    Nothing says when the operator has heard of an exception.
    """

    def review() -> None:
        denied = installed.create(config_map(another("judged")))
        assert "treed-validate" in denied.stderr

    review()
    reviewed = about("admission validate CREATE ConfigMap", "admission.request.name", "judged-*")
    arrives("validate", reviewed, again=review)


def test_a_review_that_changes_an_object(installed, world, arrives) -> None:
    assert installed.create(config_map("mutated-one")).returncode == 0
    arrives("mutate", about("admission mutate CREATE ConfigMap", "admission.request.name", "mutated-one"))


def test_an_update_request_that_generates(installed, world, arrives) -> None:
    """Linked to the review that asked for it."""
    assert installed.create(config_map("trigger-generate")).returncode == 0
    arrives("generate", about("BACKGROUND generate", "kymograph.object.name", "trigger-generate"))


def test_what_a_rule_keeps_as_it_is(installed, world, arrives, another) -> None:
    """Somebody changes what was generated: what is noted because of that stands below the change.

    A change is no news before its kind is watched, nor where the operator has written the object since.
    """
    assert installed.create(config_map("trigger-kept")).returncode == 0

    def change() -> bool:
        patch = json.dumps({"data": {"a": another("changed")}})
        kept = ("patch", "configmap", "kept", "-n", "treed", "--type=merge", "-p", patch)
        return installed.kubectl(*kept, check=False).returncode == 0

    eventually(change, PATIENCE)
    arrives("object-change", about("BACKGROUND object change", "kymograph.object.name", "kept"), again=change)


def test_an_update_request_that_changes_existing_objects(installed, world, arrives) -> None:
    assert installed.create(config_map("trigger-mutate")).returncode == 0
    arrives("mutate-existing", about("BACKGROUND mutate", "kymograph.object.name", "trigger-mutate"))


def test_a_scan_its_report_and_its_events(world, arrives) -> None:
    """Of an object that was there before its policy."""
    arrives(
        "scan", lambda span: span.name == "SCAN object" and span.attributes["kymograph.object.name"] == "scanned-before"
    )
    arrives("report", about("REPORTS write", "kymograph.object.name", "scanned-before"))
    arrives("event", about("EVENT write", "kymograph.object.name", "scanned-before"))
    arrives("scan-policy-status", about("SCAN policy status", "kyverno.policy.name", "treed-audit"))


def test_cleanup_by_policy_and_by_label(world, arrives, another) -> None:
    """Of those who ask at the same time what is served, the last have the answer of another, and so no calls below."""

    def make() -> None:
        world(config_map(another("scratch")))

    make()
    world(CLEANED)
    deleted = about("CLEANUP policy", "kyverno.policy.name", "treed-cleanup")
    arrives(
        "cleanup-policy",
        lambda span: deleted(span) and span.attributes.get("kymograph.cleanup.objects_deleted") == 1,
        again=make,
    )
    told = about("CLEANUP policy status", "kyverno.policy.name", "treed-cleanup")
    arrives("cleanup-policy-status", lambda span: told(span) and bool(span.links))
    world(config_map("expiring", labels={"cleanup.kyverno.io/ttl": "1s"}))
    arrives("cleanup-ttl", about("CLEANUP ttl", "kymograph.object.name", "expiring"))


def test_the_review_of_a_label_that_says_when_an_object_goes(world, arrives, another) -> None:
    """It is warned of what cannot be followed; nothing deletes the object. Nobody waits long for a warning."""

    def label() -> None:
        world(config_map(another("expiring-never"), labels={"cleanup.kyverno.io/ttl": "soon"}))

    label()
    reviewed = about("admission validate CREATE ConfigMap", "admission.request.name", "expiring-never-*")
    arrives("ttl-label", lambda span: reviewed(span) and span.attributes["http.route"] == "/validate/ttl", again=label)


def test_a_global_entry_that_is_called_again(world, arrives) -> None:
    world(ENTRY)
    arrives("global-context", about("BACKGROUND global context refresh", "kymograph.object.name", "treed"))
    arrives("global-context-status", about("BACKGROUND global context status", "kymograph.object.name", "treed"))


def test_what_a_policy_sets_off(world, arrives) -> None:
    """It is reviewed and compiled; what API servers are told of it and its status are linked to that."""
    arrives(
        "validate-policy",
        about("admission validate CREATE kyverno.io/ClusterPolicy", "admission.request.name", "treed-audit"),
    )
    arrives("compilation", about("ADMISSION policy compilation", "kyverno.policy.name", "treed-validate"))
    arrives("policy-status", about("BACKGROUND policy status", "kyverno.policy.name", "treed-validate"))
    arrives(
        "webhooks",
        lambda span: span.name == "ADMISSION webhook configuration kymograph-resource-validation" and bool(span.links),
    )


def test_what_is_served_is_asked_for_below_the_work_that_needs_it(world, otlp) -> None:
    """Somebody changes a CustomResourceDefinition: several ask, and who asked first has the calls for all of them."""
    before = {span.span_id for span in otlp.received()}
    world(definition("changed"))

    def asked_below_work() -> bool:
        spans = {span.span_id: span for span in otlp.received() if span.service == "kymograph"}
        new = [span for span_id, span in spans.items() if span_id not in before]
        calls = {path: [span for span in new if span.name == f"KUBE get {path}"] for path in ("/api", "/apis")}
        return (
            all(calls.values())
            and all(span.parent_id in spans for made in calls.values() for span in made)
            and "ADMISSION discovery" in {span.name for span in new}
        )

    eventually(asked_below_work, PATIENCE)


def test_a_look_at_the_certificate(installed, arrives, otlp, another) -> None:
    """Somebody touches its Secret."""
    seen = {span.span_id for span in otlp.received() if span.name == "CERTIFICATE look"}

    def touch() -> None:
        installed.kubectl("annotate", "secret", "kymograph-tls", "-n", "kymograph", another("treed=by"), "--overwrite")

    touch()
    arrives("certificate", lambda span: span.name == "CERTIFICATE look" and span.span_id not in seen, again=touch)


def test_leadership_that_is_lost_and_gained(installed, arrives, otlp) -> None:
    """Somebody else takes the Lease for a second."""
    before = {span.span_id for span in otlp.received() if span.name == "LEADER election"}
    taken = json.dumps({"spec": {"holderIdentity": "somebody else", "leaseDurationSeconds": 1}})

    def take() -> None:
        installed.kubectl("patch", "lease", "kymograph", "-n", "kymograph", "--type=merge", "-p", taken)

    take()
    for change, again in (("lost", take), ("gained", None)):  # nobody loses it who does not lead at the moment
        changed = about("LEADER election", "kymograph.leader.change", change)
        arrives(f"leader-{change}", lambda span, changed=changed: changed(span) and span.span_id not in before, again)


def _leads_nowhere(span: wire.Span) -> bool:
    """Whether a collection was listed in vain: of a kind that is gone, from an API server that has no time."""
    status = span.attributes.get("http.response.status_code")
    return span.name.startswith("KUBE list ") and status in {None, 404, 429, 503}


def test_no_call_is_a_trace_of_its_own_but_those_that_follow_a_collection(world, otlp) -> None:
    """Or by which Kopf looks up what is served. Of all that was done since the process began to export."""

    def only_those() -> bool:
        roots = [span for span in otlp.received() if span.service == "kymograph" and not span.parent_id]
        kinds = {span.name.partition(" ")[0] for span in roots}
        calls = [span for span in roots if span.kind == "client"]
        others = {
            span.name
            for span in calls
            if not LOOKED_UP.search(str(span.attributes["url.full"])) and not _leads_nowhere(span)
        }
        watched = {name.removeprefix("KUBE watch ") for name in others if name.startswith("KUBE watch ")}
        followed = {f"KUBE {verb} {plural}" for verb in ("list", "watch") for plural in watched}
        return kinds > {"BACKGROUND", "SCAN"} and others <= followed

    eventually(only_those, PATIENCE)


def test_every_span_begins_while_its_parent_lasts(world, otlp) -> None:
    """What somebody starts in the course of some work and leaves running is no part of that for ever."""
    ours = {span.span_id: span for span in otlp.received() if span.service == "kymograph"}
    below = [(ours[span.parent_id], span) for span in ours.values() if span.parent_id in ours]
    assert len(below) > 100
    late = [(parent.name, span.name) for parent, span in below if not parent.start <= span.start <= parent.end]
    assert late == []
