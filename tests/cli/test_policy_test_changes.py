"""Rows about what policies make: patched resources, patched targets, generated resources."""

from support import offline

LABEL = """
apiVersion: kyverno.io/v1
kind: ClusterPolicy
metadata: {name: label}
spec:
  rules:
    - name: add-label
      match: {any: [{resources: {kinds: [Pod]}}]}
      mutate:
        patchStrategicMerge: {metadata: {labels: {+(team): none}}}
"""
PATCHED = offline.PODS.replace("  name: stray\n", "  name: stray\n  labels: {team: none}\n  annotations: {}\n")
COPY = """
apiVersion: kyverno.io/v1
kind: ClusterPolicy
metadata: {name: copy}
spec:
  rules:
    - name: copy-secret
      match: {any: [{resources: {kinds: [Namespace]}}]}
      generate:
        apiVersion: v1
        kind: Secret
        name: pull
        namespace: "{{ request.object.metadata.name }}"
        clone: {namespace: base, name: pull}
"""
SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: pull, namespace: NAMESPACE}\ndata: {token: eA==}\n"
NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"


def labelled(result: str, resources: str = "[stray]", more: str = "") -> str:
    """A manifest about the policy that labels."""
    entry = f"policy: label, rule: add-label, resources: {resources}, patchedResources: patched.yaml, result: {result}"
    return offline.manifest(entry + more)


def test_a_patched_resource_is_compared_with_the_one_of_its_key(tested, tmp_path) -> None:
    """What is empty counts as absent; the rule that changed nothing skips."""
    manifest = offline.manifest(
        "policy: label, rule: add-label, resources: [stray], patchedResources: patched.yaml, result: pass",
        "policy: label, rule: add-label, resources: [owned], patchedResources: patched.yaml, result: skip",
    )
    offline.write(tmp_path, policy=LABEL, patched=PATCHED, manifest=manifest)
    assert [row[3:] for row in tested(tmp_path)] == [("Pass", "Ok")] * 2


def test_a_patched_resource_that_differs_fails_with_the_difference(run, tmp_path) -> None:
    """As a diff from what was expected to what came out."""
    offline.write(tmp_path, policy=LABEL, patched=PATCHED.replace("team: none", "team: red"), manifest=labelled("pass"))
    (row,) = run("test", tmp_path, "-o", "json", "--detailed-results").rows
    assert (row["RESULT"], row["REASON"]) == ("Fail", "Resource diff")
    assert "-    team: red\n+    team: none" in row["Message"]


def test_a_patched_resource_that_the_file_lacks_is_passed_over(tested, tmp_path) -> None:
    """Unless `failOnMissingResources` is set."""
    offline.write(tmp_path, policy=LABEL, patched=NAMESPACE, manifest=labelled("pass"))
    assert tested(tmp_path) == []
    offline.write(
        tmp_path, policy=LABEL, patched=NAMESPACE, manifest=labelled("pass", more=", failOnMissingResources: true")
    )
    assert tested(tmp_path)[0][3:] == ("Fail", "Resource error")


def test_validate_rules_see_what_mutate_rules_made(tested, tmp_path) -> None:
    """Whatever the order of the files."""
    manifest = offline.manifest(
        "policy: require-team, rule: team-label, resources: [stray], result: pass",
        policies="[policy.yaml, label.yaml]",
    )
    offline.write(tmp_path, label=LABEL, manifest=manifest)
    assert tested(tmp_path)[0][3:] == ("Pass", "Ok")


def test_mutate_policies_build_on_each_other(tested, tmp_path) -> None:
    """Each policy's row shows the resource as that policy left it."""
    second = LABEL.replace("name: label}", "name: second}").replace(
        "+(team): none", "seen: '{{ request.object.metadata.labels.team }}'"
    )
    manifest = offline.manifest(
        "policy: label, rule: add-label, resources: [stray], patchedResources: patched.yaml, result: pass",
        "policy: second, rule: add-label, resources: [stray], patchedResources: twice.yaml, result: pass",
        policies="[policy.yaml, second.yaml]",
    )
    twice = PATCHED.replace("team: none", "team: none, seen: none")
    offline.write(tmp_path, policy=LABEL, second=second, patched=PATCHED, twice=twice, manifest=manifest)
    assert [row[3:] for row in tested(tmp_path)] == [("Pass", "Ok")] * 2


def test_a_target_is_compared_as_the_rule_left_it(tested, tmp_path) -> None:
    """`targetResources` are objects that exist; a row about one has its name."""
    policy = """
        apiVersion: kyverno.io/v1
        kind: ClusterPolicy
        metadata: {name: mark}
        spec:
          rules:
            - name: mark-secret
              match: {any: [{resources: {kinds: [Pod]}}]}
              mutate:
                targets: [{apiVersion: v1, kind: Secret, namespace: base, name: pull}]
                patchStrategicMerge: {metadata: {labels: {seen: "{{ request.object.metadata.name }}"}}}
    """
    manifest = offline.manifest(
        "policy: mark, rule: mark-secret, resources: [base/pull], patchedResources: patched.yaml, result: pass",
        more="targetResources: [secret.yaml]\n",
    )
    secret = SECRET.replace("NAMESPACE", "base")
    pods = offline.PODS.split("---")[0]
    patched = secret.replace("base}", "base, labels: {seen: owned}}")
    offline.write(tmp_path, policy=policy, pods=pods, secret=secret, patched=patched, manifest=manifest)
    assert tested(tmp_path) == [("mark", "mark-secret", "v1/Secret/base/pull", "Pass", "Ok")]


def cloned(expected: str) -> str:
    """A manifest about the policy that clones."""
    entry = "policy: copy, rule: copy-secret, resources: [shop], cloneSourceResource: source.yaml, result: pass"
    return offline.manifest(f"{entry}, {expected}")


def test_a_generated_resource_is_compared_without_the_labels_that_find_it(tested, tmp_path) -> None:
    """Its source is the test's `cloneSourceResource`; the row has its name."""
    files = {
        "pods": NAMESPACE,
        "source": SECRET.replace("NAMESPACE", "base"),
        "made": SECRET.replace("NAMESPACE", "shop"),
    }
    offline.write(tmp_path, policy=COPY, manifest=cloned("generatedResource: made.yaml"), **files)
    assert tested(tmp_path) == [("copy", "copy-secret", "/pull", "Pass", "Ok")]


def test_one_of_several_expected_generated_resources_is_enough(tested, tmp_path) -> None:
    """`generatedResources`."""
    files = {
        "pods": NAMESPACE,
        "source": SECRET.replace("NAMESPACE", "base"),
        "made": SECRET.replace("NAMESPACE", "shop"),
    }
    offline.write(tmp_path, policy=COPY, manifest=cloned("generatedResources: [pods.yaml, made.yaml]"), **files)
    assert tested(tmp_path)[0][3:] == ("Pass", "Ok")


def test_a_generated_resource_that_differs_fails(tested, tmp_path) -> None:
    """With the difference."""
    made = SECRET.replace("NAMESPACE", "shop").replace("eA==", "eQ==")
    files = {"pods": NAMESPACE, "source": SECRET.replace("NAMESPACE", "base"), "made": made}
    offline.write(tmp_path, policy=COPY, manifest=cloned("generatedResource: made.yaml"), **files)
    assert tested(tmp_path)[0][3:] == ("Fail", "Resource diff")


def test_a_rule_whose_source_is_not_given_passes_without_objects(tested, tmp_path) -> None:
    """As in Kyverno; `--strict` fails what nothing was made of."""
    entry = "policy: copy, rule: copy-secret, resources: [shop], result: pass"
    offline.write(tmp_path, policy=COPY, pods=NAMESPACE, manifest=offline.manifest(entry))
    row = ("copy", "copy-secret", "v1/Namespace//shop")
    assert tested(tmp_path) == [(*row, "Pass", "Ok")]
    assert tested(tmp_path, "--strict") == [(*row, "Fail", "Resource error")]
