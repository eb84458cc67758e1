"""What policies generate and change besides the object of a request, on the operator as installed."""

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.installed import eventually

ACCOUNT = "system:serviceaccount:kymograph:kymograph"
VERBS = ["get", "list", "watch", "create", "update", "patch", "delete"]
LONG = 60.0
"""Seconds that a request has to be worked off on a busy machine."""


def grant(
    name: str, *resources: str, verbs: list[str] = VERBS, label: str = "rbac.kymograph.dev/aggregate-to-background"
):
    """A ClusterRole that lets the operator write objects of the core group."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name, "labels": {label: "true"}},
        "rules": [{"apiGroups": [""], "resources": list(resources), "verbs": verbs}],
    }


def generating(name: str, generate: dict[str, Any], *, kinds=("Namespace",), names=(), rule=None, **spec: Any):
    """A policy with one rule that generates because of objects with some names."""
    resources = {"kinds": list(kinds), **({"names": list(names)} if names else {})}
    made = {"name": f"{name}-rule", "match": {"any": [{"resources": resources}]}, "generate": generate, **(rule or {})}
    return {
        "apiVersion": "kyverno.io/v1",
        "kind": "ClusterPolicy",
        "metadata": {"name": name},
        "spec": {**spec, "rules": [made]},
    }


def data(name: str, content: dict[str, str], *, namespace: str = "{{ request.object.metadata.name }}", **more: Any):
    """A `generate` of a ConfigMap."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": name,
        "namespace": namespace,
        "data": {"data": content},
        **more,
    }


def for_marked(name: str) -> dict[str, Any]:
    """A policy that makes Secrets in the namespaces of marked ConfigMaps, and keeps them in step."""
    described = {
        **data("for-{{ request.object.metadata.name }}", {}, namespace="{{ request.object.metadata.namespace }}"),
        "kind": "Secret",
        "data": {"type": "Opaque"},
        "synchronize": True,
    }
    policy = generating(name, described, kinds=["ConfigMap"])
    policy["spec"]["rules"][0]["match"]["any"][0]["resources"]["selector"] = {"matchLabels": {"trigger": name}}
    return policy


def config_map(name: str, namespace: str = "default", content: dict[str, str] | None = None, **metadata: Any):
    """A ConfigMap."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, **metadata},
        "data": content or {},
    }


def namespace(name: str, **labels: str):
    """A Namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def shown(installed, *what: str) -> str:
    """What kubectl shows of an object: nothing where there is none."""
    get = ("get", "--ignore-not-found", *what)
    return eventually(lambda: (ran := installed.kubectl(*get, check=False)).returncode == 0 and ran, LONG).stdout


def exists(installed, *what: str) -> bool:
    return bool(shown(installed, "-o", "name", *what))


def content(installed, name: str, where: str) -> dict[str, str] | None:
    """The data of a ConfigMap; None where there is none."""
    found = shown(installed, "-o", "json", "configmap", name, "-n", where)
    return json.loads(found).get("data", {}) if found else None


def requests(installed, policy: str) -> list[dict[str, Any]]:
    """The UpdateRequests of a policy."""
    items = installed.get("updaterequests", "-n", "kymograph")["items"]
    return [each for each in items if each["spec"]["policy"] == policy]


def ended(installed, policy: str, state: str = "Completed") -> list[dict[str, Any]]:
    """Those that ended so."""
    return [each for each in requests(installed, policy) if each.get("status", {}).get("state") == state]


@pytest.fixture(scope="module")
def granted(installed) -> Iterator[None]:
    """The operator may write ConfigMaps and Secrets."""
    installed.apply(grant("background-test", "configmaps", "secrets"))
    may = ("auth", "can-i", "patch", "configmaps", f"--as={ACCOUNT}")
    eventually(lambda: installed.kubectl(*may, check=False).stdout.strip() == "yes")
    yield
    installed.kubectl("delete", "clusterrole", "background-test")
    eventually(lambda: installed.kubectl(*may, check=False).stdout.strip() == "no")


@pytest.fixture
def named(installed, request) -> Iterator[Callable[..., str]]:
    """Makes namespaces that are deleted after the test."""
    made: list[str] = []

    def create(name: str, **labels: str) -> str:
        made.append(name)
        installed.apply(namespace(name, **labels))
        return name

    yield create
    for each in made:
        installed.kubectl("delete", "namespace", each, "--wait=false", "--ignore-not-found")


def test_a_trigger_has_what_its_rule_describes(installed, granted, enforce, named, otlp) -> None:
    """With Kyverno's labels; the UpdateRequest says so; its trace is linked to that of the request."""
    enforce(generating("gen-data", data("made", {"team": "{{ request.object.metadata.labels.team }}"}), names=["gd-*"]))
    where = named("gd-one", team="red")
    assert eventually(lambda: content(installed, "made", where), LONG) == {"team": "red"}
    labels = installed.get("configmap", "made", "-n", where)["metadata"]["labels"]
    uid = installed.get("namespace", where)["metadata"]["uid"]
    assert labels == {
        "app.kubernetes.io/managed-by": "kyverno",
        "generate.kyverno.io/policy-name": "gen-data",
        "generate.kyverno.io/policy-namespace": "",
        "generate.kyverno.io/rule-name": "gen-data-rule",
        "generate.kyverno.io/trigger-group": "",
        "generate.kyverno.io/trigger-version": "v1",
        "generate.kyverno.io/trigger-kind": "Namespace",
        "generate.kyverno.io/trigger-namespace": "",
        "generate.kyverno.io/trigger-uid": uid,
    }
    (done,) = eventually(lambda: ended(installed, "gen-data"), LONG)
    assert done["status"]["generatedResources"] == [
        {"apiVersion": "v1", "kind": "ConfigMap", "namespace": where, "name": "made"}
    ]
    asked = otlp.wait_for(
        lambda span: (
            span.name == "admission validate CREATE Namespace" and span.attributes["admission.request.name"] == where
        ),
        LONG,
    )
    root = otlp.wait_for(
        lambda span: (
            span.name == "BACKGROUND generate"
            and span.attributes.get("kymograph.object.uid") == uid
            and asked.trace_id in {link.trace_id for link in span.links}
        ),
        LONG,
    )
    told = {"POLICY /gen-data", "RULE gen-data-rule", "KUBE apply configmaps"}
    otlp.wait_for_trace(root.trace_id, lambda trace: told <= {span.name for span in trace}, LONG)


def test_what_is_not_synchronized_is_left_alone(installed, granted, enforce, named) -> None:
    """Edits and deletions stay, also when the policy goes."""
    enforce(generating("gen-once", data("once", {"a": "1"}), names=["go-*"]))
    where = named("go-one")
    assert eventually(lambda: content(installed, "once", where), LONG) == {"a": "1"}
    installed.apply(config_map("once", where, {"a": "2"}))
    installed.kubectl("delete", "clusterpolicy", "gen-once")
    enforce(generating("gen-other", data("other", {"a": "1"}), names=["go-*"]))
    named("go-two")
    eventually(lambda: content(installed, "other", "go-two"), LONG)
    assert content(installed, "once", where) == {"a": "2"}


def test_downstream_edits_and_deletions_are_undone(installed, granted, enforce, named) -> None:
    enforce(generating("gen-heal", data("healed", {"a": "1"}, synchronize=True), names=["gh-*"]))
    where = named("gh-one")
    assert eventually(lambda: content(installed, "healed", where), LONG) == {"a": "1"}
    patch = '{"data": {"a": "2"}}'
    installed.kubectl("patch", "configmap", "healed", "-n", where, "--type=merge", "-p", patch)
    eventually(lambda: content(installed, "healed", where) == {"a": "1"}, LONG)
    uid = installed.get("configmap", "healed", "-n", where)["metadata"]["uid"]
    installed.kubectl("delete", "configmap", "healed", "-n", where)
    eventually(lambda: content(installed, "healed", where) == {"a": "1"}, LONG)
    assert installed.get("configmap", "healed", "-n", where)["metadata"]["uid"] != uid


def test_what_a_rule_describes_anew_is_written_anew(installed, granted, enforce, named) -> None:
    enforce(generating("gen-rule", data("ruled", {"a": "1"}, synchronize=True), names=["gr-*"]))
    where = named("gr-one")
    assert eventually(lambda: content(installed, "ruled", where), LONG) == {"a": "1"}
    enforce(generating("gen-rule", data("ruled", {"b": "2"}, synchronize=True), names=["gr-*"]))
    eventually(lambda: content(installed, "ruled", where) == {"b": "2"}, LONG)


@pytest.mark.parametrize("orphans", [False, True])
def test_what_a_policy_generated_goes_with_it(installed, granted, enforce, named, orphans) -> None:
    """Unless it says otherwise."""
    name = f"gen-gone-{orphans}".lower()
    where = f"gg-{orphans}".lower()
    described = data("followed", {"a": "1"}, synchronize=True, orphanDownstreamOnPolicyDelete=orphans)
    enforce(generating(name, described, names=[where]))
    named(where)
    assert eventually(lambda: content(installed, "followed", where), LONG) == {"a": "1"}
    installed.kubectl("delete", "clusterpolicy", name)
    if orphans:
        enforce(generating("gen-marker", data("marker", {"a": "1"}), names=[f"{where}-marker"]))
        named(f"{where}-marker")
        eventually(lambda: content(installed, "marker", f"{where}-marker"), LONG)
        assert content(installed, "followed", where) == {"a": "1"}
    else:
        eventually(lambda: content(installed, "followed", where) is None, LONG)


def test_what_a_trigger_had_generated_goes_with_it(installed, granted, enforce, named) -> None:
    """When it is deleted, and when it is no trigger any more."""
    enforce(for_marked("gen-trigger"))
    named("gt-here")
    for each in ("one", "two"):
        installed.apply(config_map(each, "gt-here", labels={"trigger": "gen-trigger"}))
        eventually(lambda each=each: exists(installed, "secret", f"for-{each}", "-n", "gt-here"), LONG)
    installed.kubectl("delete", "configmap", "one", "-n", "gt-here")
    installed.kubectl("label", "configmap", "two", "-n", "gt-here", "trigger-")
    for each in ("one", "two"):
        eventually(lambda each=each: not exists(installed, "secret", f"for-{each}", "-n", "gt-here"), LONG)


def test_a_clone_follows_its_source(installed, granted, enforce, named) -> None:
    """What changes in the source changes in the clone; with the source it goes."""
    named("gc-source")
    installed.apply(config_map("source", "gc-source", {"a": "1"}))
    clone = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "cloned",
        "namespace": "{{ request.object.metadata.name }}",
        "synchronize": True,
        "clone": {"namespace": "gc-source", "name": "source"},
    }
    enforce(generating("gen-clone", clone, names=["gc-target"]))
    where = named("gc-target")
    assert eventually(lambda: content(installed, "cloned", where), LONG) == {"a": "1"}
    marked = "generate.kyverno.io/clone-source"
    assert marked in installed.get("configmap", "source", "-n", "gc-source")["metadata"]["labels"]
    installed.kubectl("patch", "configmap", "source", "-n", "gc-source", "--type=merge", "-p", '{"data": {"a": "2"}}')
    eventually(lambda: content(installed, "cloned", where) == {"a": "2"}, LONG)
    installed.kubectl("delete", "configmap", "source", "-n", "gc-source")
    eventually(lambda: content(installed, "cloned", where) is None, LONG)


def test_triggers_that_exist_count_where_the_rule_says_so(installed, granted, enforce, named) -> None:
    where = named("ge-one")
    enforce(generating("gen-existing", data("late", {"a": "1"}, generateExisting=True), names=["ge-*"]))
    assert eventually(lambda: content(installed, "late", where), LONG) == {"a": "1"}


def mutating(name: str, targets: list[dict[str, Any]], patch: dict[str, Any], *, names=(), **mutate: Any):
    """A policy with one rule that changes existing objects because of ConfigMaps."""
    rule = {
        "name": f"{name}-rule",
        "match": {"any": [{"resources": {"kinds": ["ConfigMap"], "names": list(names)}}]},
        "mutate": {"targets": targets, "patchStrategicMerge": patch, **mutate},
    }
    return {
        "apiVersion": "kyverno.io/v1",
        "kind": "ClusterPolicy",
        "metadata": {"name": name},
        "spec": {"rules": [rule]},
    }


def test_existing_objects_are_changed(installed, granted, enforce, named) -> None:
    """Those that names, selectors and preconditions of targets mean, when a trigger comes."""
    where = named("me-one")
    for name, labels in (
        ("t-1", {"app": "web"}),
        ("t-2", {"app": "web"}),
        ("t-3", {"app": "db"}),
        ("o", {"app": "web"}),
    ):
        installed.apply(config_map(name, where, {"keep": "no" if name == "t-2" else "yes"}, labels=labels))
    target = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "namespace": where,
        "name": "t-*",
        "selector": {"matchLabels": {"app": "web"}},
        "preconditions": {"all": [{"key": "{{ target.data.keep }}", "operator": "Equals", "value": "yes"}]},
    }
    patch = {"data": {"by": "{{ request.object.metadata.name }}"}}
    enforce(mutating("mut-existing", [target], patch, names=["trigger"]))
    installed.apply(config_map("trigger", where))
    eventually(lambda: ended(installed, "mut-existing"), LONG)
    assert content(installed, "t-1", where) == {"keep": "yes", "by": "trigger"}
    assert content(installed, "t-2", where) == {"keep": "no"}
    assert content(installed, "t-3", where) == {"keep": "yes"}
    assert content(installed, "o", where) == {"keep": "yes"}


def test_existing_objects_are_changed_when_the_policy_comes(installed, granted, enforce, named) -> None:
    where = named("mp-one")
    installed.apply(config_map("mp-trigger", where))
    installed.apply(config_map("mp-target", where))
    target = {"apiVersion": "v1", "kind": "ConfigMap", "namespace": where, "name": "mp-target"}
    patch = {"data": {"seen": "yes"}}
    enforce(mutating("mut-policy", [target], patch, names=["mp-trigger"], mutateExistingOnPolicyUpdate=True))
    eventually(lambda: content(installed, "mp-target", where) == {"seen": "yes"}, LONG)


def test_a_request_that_is_denied_after_us_has_no_effect(installed, granted, enforce, named) -> None:
    """Its UpdateRequest ends as `Skip`, once the object could have come."""
    named("gs-here")
    described = data("denied-made", {"a": "1"}, namespace="gs-here")
    enforce(
        generating(
            "gen-skip",
            {**described, "kind": "Secret", "data": {"type": "Opaque"}},
            kinds=["ConfigMap"],
            names=["denied"],
        )
    )
    created = installed.create(config_map("denied", "default"))
    assert created.returncode == 0
    eventually(lambda: exists(installed, "secret", "denied-made", "-n", "gs-here"), LONG)
    installed.kubectl("delete", "configmap", "denied", "-n", "default")
    installed.kubectl("delete", "secret", "denied-made", "-n", "gs-here")
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": "gs-here"},
        "spec": {"hard": {"count/configmaps": "0"}},
    }
    installed.apply(quota)
    other = config_map("other", "gs-here")
    eventually(lambda: "exceeded quota" in installed.create(other, "--dry-run=server").stderr, LONG)
    assert "exceeded quota" in installed.create(config_map("denied", "gs-here")).stderr
    skipped = eventually(lambda: ended(installed, "gen-skip", "Skip"), 90.0)
    assert "may have been denied" in skipped[0]["status"]["message"]
    assert not exists(installed, "secret", "denied-made", "-n", "gs-here")


def test_a_dry_run_leaves_no_request(installed, granted, enforce, named) -> None:
    """Of two namespaces, the one that is stored has one."""
    enforce(generating("gen-dry", data("dry", {"a": "1"}), names=["dry-*"]))
    assert installed.create(namespace("dry-one"), "--dry-run=server").returncode == 0
    where = named("dry-two")
    eventually(lambda: ended(installed, "gen-dry"), LONG)
    assert [each["spec"]["resource"]["name"] for each in requests(installed, "gen-dry")] == [where]


def test_there_are_no_more_requests_than_the_config_map_says(installed, granted, enforce) -> None:
    """The failure policy decides, which is to refuse here; the user reads why."""
    policy = generating("gen-bound", data("one", {}), names=["gb-*"])
    policy["spec"]["rules"].append({**policy["spec"]["rules"][0], "name": "two", "generate": data("two", {})})
    enforce(policy)
    names = (f"gb-{number}" for number in itertools.count())
    made: list[str] = []

    def answer() -> str:
        """What the API server says to another namespace."""
        made.append(next(names))
        return installed.create(namespace(made[-1])).stderr

    installed.apply(config_map("kyverno", "kymograph", {"updateRequestThreshold": "1"}))
    try:
        eventually(lambda: "there may be no more than 1 UpdateRequests at once" in answer(), LONG)
        installed.kubectl("delete", "configmap", "kyverno", "-n", "kymograph")
        eventually(lambda: not answer(), LONG)
    finally:
        installed.kubectl("delete", "configmap", "kyverno", "-n", "kymograph", "--ignore-not-found")
        installed.kubectl("delete", "namespace", *made, "--wait=false", "--ignore-not-found")


def test_what_is_not_granted_is_refused_with_the_rule_to_grant(installed) -> None:
    """In Kyverno's words; with one of Kyverno's grants the same policy is taken."""
    described = {**data("made", {}), "kind": "ServiceAccount", "data": {}, "synchronize": True}
    policy = generating("gen-account", described, names=["ga-*"])
    refused = installed.create(policy)
    assert refused.returncode == 1
    assert f"{ACCOUNT} requires permissions " in refused.stderr
    assert "for resource v1/ServiceAccount" in refused.stderr
    assert 'rbac.kymograph.dev/aggregate-to-background: "true"' in refused.stderr
    label = "rbac.kyverno.io/aggregate-to-background-controller"
    installed.apply(
        grant(
            "background-accounts", "serviceaccounts", verbs=["get", "list", "create", "update", "delete"], label=label
        )
    )
    eventually(lambda: installed.create(policy).returncode == 0, LONG)
    installed.forget_policies()
    installed.kubectl("delete", "clusterrole", "background-accounts")


def test_a_restart_in_the_middle_loses_and_doubles_nothing(installed, granted, enforce, named) -> None:
    """Killed while requests wait: afterwards everything is there, once."""
    enforce(generating("gen-kill", data("survived", {"a": "1"}), names=["gk-*"]))
    names = [f"gk-{number}" for number in range(12)]
    for name in names[:6]:
        named(name)
    installed.operator.kill()
    installed.operator.start()
    for name in names[6:]:
        eventually(lambda name=name: installed.create(namespace(name)).returncode == 0, LONG)
    try:
        for name in names:
            assert eventually(lambda name=name: content(installed, "survived", name), LONG) == {"a": "1"}
        settled = ("Completed", "Skip")
        eventually(
            lambda: all(each.get("status", {}).get("state") in settled for each in requests(installed, "gen-kill")),
            LONG,
        )
    finally:
        for name in names[6:]:
            installed.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


@pytest.mark.timeout(300)
def test_what_goes_while_nobody_runs_is_undone_later(installed, granted, enforce, named) -> None:
    """By whoever leads next: a policy, a trigger, and what makes an object a trigger; what is to outlive them stays."""
    enforce(generating("gen-unseen", data("unseen", {"a": "1"}, synchronize=True), names=["gu-*"]))
    enforce(generating("gen-outlives", data("outlives", {"a": "1"}), names=["gu-*"]))
    enforce(for_marked("gen-marked"))
    where = named("gu-one")
    for name in ("unseen", "outlives"):
        assert eventually(lambda name=name: content(installed, name, where), LONG) == {"a": "1"}
    for each in ("deleted", "unmarked", "marked"):
        installed.apply(config_map(each, where, labels={"trigger": "gen-marked"}))
        eventually(lambda each=each: exists(installed, "secret", f"for-{each}", "-n", where), LONG)
    installed.operator.kill()
    for webhooks in ("validatingwebhookconfigurations", "mutatingwebhookconfigurations"):
        installed.kubectl("delete", webhooks, "--all")
    for unasked in (
        ("delete", "clusterpolicy", "gen-unseen", "gen-outlives", "--ignore-not-found"),
        ("delete", "configmap", "deleted", "-n", where, "--ignore-not-found"),
        ("label", "configmap", "unmarked", "-n", where, "trigger-"),
    ):  # the API server may ask once more: it hears of the end of the webhooks a moment later
        eventually(lambda unasked=unasked: installed.kubectl(*unasked, check=False).returncode == 0)
    installed.operator.start()
    eventually(lambda: content(installed, "unseen", where) is None, LONG)
    for each in ("deleted", "unmarked"):
        eventually(lambda each=each: not exists(installed, "secret", f"for-{each}", "-n", where), LONG)
    assert content(installed, "outlives", where) == {"a": "1"}
    assert exists(installed, "secret", "for-marked", "-n", where)


@pytest.mark.timeout(300)
def test_two_policies_that_set_each_other_off_are_stopped(installed, granted, enforce, named) -> None:
    """Each makes what the other is about: after ten links an UpdateRequest and an Event say so.

    A write whose answer was lost is made again, and asks about the same object again: then they are two.
    """
    where = named("gx-one")
    for name, kind, made in (("loop-a", "ConfigMap", "Secret"), ("loop-b", "Secret", "ConfigMap")):
        described = {
            "apiVersion": "v1",
            "kind": made,
            "name": "{{ request.object.metadata.name }}x",
            "namespace": where,
            "data": {"metadata": {"labels": {"loop": "yes"}}},
        }
        policy = generating(name, described, kinds=[kind], names=["loop*"], rule={"skipBackgroundRequests": False})
        enforce(policy)
    installed.apply(config_map("loop", where))

    def stopped() -> list[dict[str, Any]]:
        found = requests(installed, "loop-a") + requests(installed, "loop-b")
        return [each for each in found if "set each other off" in each.get("status", {}).get("message", "")]

    assert {each["status"]["state"] for each in eventually(stopped, 2 * LONG)} == {"Skip"}
    events = eventually(
        lambda: [
            each
            for each in installed.get("events.events.k8s.io", "-n", "default")["items"]
            if each["reason"] == "PolicyError" and "set each other off" in each["note"]
        ],
        LONG,
    )
    assert {each["reportingController"] for each in events} == {"kyverno-generate"}
    made = [
        each["metadata"]["name"]
        for kind in ("secrets", "configmaps")
        for each in installed.get(kind, "-n", where)["items"]
        if each["metadata"]["name"].startswith("loop")
    ]
    assert len(made) <= 12
