"""`kymograph explain` says in words what a policy says in YAML."""

import pytest

from kymograph.apimachinery import yamls
from kymograph.cli import main

POLICY = """apiVersion: kyverno.io/v1
kind: ClusterPolicy
metadata: {name: owners}
spec:
  background: false
  validationFailureAction: Enforce
  webhookTimeoutSeconds: 15
  rules:
  - name: owner
    match: {any: [{resources: {kinds: [Pod], operations: [CREATE]}}]}
    exclude: {any: [{subjects: [{kind: User, name: admin}]}]}
    context:
    - name: settings
      configMap: {name: settings, namespace: platform}
    preconditions: {all: [{key: "{{ request.userInfo.username }}", operator: NotEquals, value: a}]}
    validate:
      message: who owns it?
      pattern: {metadata: {labels: {owner: "{{ settings.data.owner }}"}}}
"""


@pytest.fixture
def explain(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(text, *flags):
        (tmp_path / "p.yaml").write_text(text)
        status = main.main(["explain", "p.yaml", *flags])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def test_a_policy_in_words(explain):
    status, out, err = explain(POLICY)
    assert (status, err) == (0, "")
    for line in (
        "ClusterPolicy owners (p.yaml:1)",
        "  action on failure: Enforce; on an error: Fail",
        "  rule owner (p.yaml:9)",
        "    validate: the object must fit a pattern",
        "    matches Pod on CREATE",
        "    except every kind by User admin",
        "    only if its preconditions hold",
        "    asks for settings: configMap platform/settings",
        "    variables: request, settings",
        "      {{ settings.data.owner }}",
        "    rewritten for the controllers of Pods: autogen-owner, autogen-cronjob-owner",
        "    fail.validate.kymograph.dev (failurePolicy Fail, 15 s)",
        "      CREATE of pods, pods/ephemeralcontainers, replicationcontrollers (core/v1)",
        "      CREATE of daemonsets, deployments, replicasets, statefulsets (apps/v1)",
    ):
        assert line in out.splitlines()


def test_the_rules_as_they_are_evaluated(explain):
    _, out, _ = explain(POLICY, "-o", "yaml")
    (loaded,) = yamls.load_all(out, "out")
    rules = loaded.value["spec"]["rules"]
    assert [rule["name"] for rule in rules] == ["owner", "autogen-owner", "autogen-cronjob-owner"]
    assert "template" in rules[1]["validate"]["pattern"]["spec"]


def test_every_problem_of_a_refused_policy_is_told_with_its_line(explain):
    status, out, err = explain(POLICY.replace("Enforce", "Block").replace("request.userInfo.username", "a."))
    assert (status, out) == (1, "")
    assert "p.yaml:6: spec.validationFailureAction: " in err
    assert "p.yaml:15: spec.rules[0].preconditions" in err


def test_kinds_that_are_not_served_by_kubernetes_itself_are_assumed(explain):
    _, out, _ = explain(POLICY.replace("[Pod]", "[example.org/v1/Gateway]"))
    assert "      CREATE of gateways (example.org/v1)" in out


@pytest.mark.parametrize(
    "text", ["a: [", "5", "kind: ClusterPolicy", "apiVersion: kyverno.io/v1\nkind: ClusterPolicy\nspec: 1\n"]
)
def test_whatever_is_given_is_told_in_a_sentence(explain, text):
    status, _, err = explain(text)
    assert "p.yaml" in err
    assert status in (0, 1)
