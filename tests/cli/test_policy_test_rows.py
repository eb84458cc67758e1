"""What a row says: Kyverno's rules, also where they are generous, and `--strict` where they are not to be."""

import pytest

from support import offline

KEY = ("require-team", "team-label")
TEAM_OF_DEPLOYMENTS = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    metadata: {labels: {team: blue}}
    spec:
      containers: [{name: main, image: example.org/app:1}]
"""
MUTATING_ADMISSION_POLICY = """
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: require-team}
"""
SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: front, namespace: shop}\n"


def rule(extra: str = "", name: str = "require-team", spec: str = "") -> str:
    """The example's policy with more in its metadata or spec."""
    text = offline.POLICY.replace("  name: require-team\n", f"  name: {name}\n{extra}", 1)
    return text.replace("spec:\n", f"spec:\n{spec}", 1)


def test_a_rule_rewritten_for_controllers_answers_for_the_rule_as_written(tested, tmp_path) -> None:
    """`autogen-team-label` gives the row of `team-label`."""
    manifest = offline.manifest("policy: require-team, rule: team-label, resources: [web], result: pass")
    offline.write(tmp_path, pods=TEAM_OF_DEPLOYMENTS, manifest=manifest)
    assert tested(tmp_path) == [("require-team", "autogen-team-label", "apps/v1/Deployment/default/web", "Pass", "Ok")]


def test_what_no_rule_looked_at_is_excluded_and_passes(tested, tmp_path) -> None:
    """Whatever was expected of it; `--strict` fails it."""
    manifest = offline.manifest("policy: require-team, rule: team-label, resources: [shop/front], result: fail")
    offline.write(tmp_path, pods=SERVICE, manifest=manifest)
    row = (*KEY, "v1/Service/shop/front")
    assert tested(tmp_path) == [(*row, "Pass", "Excluded")]
    assert tested(tmp_path, "--strict") == [(*row, "Fail", "Excluded")]


def test_an_entry_without_resources_is_about_all_of_them(tested, tmp_path) -> None:
    """In the order of the files."""
    offline.write(tmp_path, manifest=offline.manifest("policy: require-team, rule: team-label, result: fail"))
    assert [row[2:] for row in tested(tmp_path)] == [
        ("v1/Pod/default/owned", "Fail", "Want fail, got pass"),
        ("v1/Pod/default/stray", "Pass", "Ok"),
    ]


def test_an_entry_whose_resources_are_all_absent_is_about_all_of_them(tested, tmp_path) -> None:
    """Kyverno's generosity; `--strict` says that they are absent."""
    manifest = offline.manifest("policy: require-team, rule: team-label, resources: [ownd], result: pass")
    offline.write(tmp_path, manifest=manifest)
    assert [row[2] for row in tested(tmp_path)] == ["v1/Pod/default/owned", "v1/Pod/default/stray"]
    assert tested(tmp_path, "--strict")[0] == (*KEY, "ownd", "Fail", "Not found")


def test_an_absent_policy_is_not_found(tested, tmp_path) -> None:
    """And fails."""
    manifest = offline.manifest("policy: require-tem, rule: team-label, resources: [owned], result: pass")
    offline.write(tmp_path, manifest=manifest)
    assert tested(tmp_path) == [("require-tem", "team-label", "v1/Pod/default/owned", "Fail", "Not found")]


def test_an_invalid_policy_skips_its_rows(run, tested, tmp_path) -> None:
    """As one that Kyverno refuses; the message says why."""
    twice = offline.POLICY[offline.POLICY.index("    - name: team-label") :]
    policy = offline.POLICY + twice
    offline.write(tmp_path, policy=policy)
    assert {row[3:] for row in tested(tmp_path)} == {("Skip", "Invalid Policy")}
    rows = run("test", tmp_path, "-o", "json", "--detailed-results").rows
    assert "Duplicate rule name: 'team-label'" in rows[0]["Message"]


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (offline.POLICY.replace("pattern:", "cel:"), "not supported by this version: validate.cel"),
        (
            "apiVersion: policies.kyverno.io/v1\nkind: ValidatingPolicy\nmetadata: {name: require-team}\n",
            "not supported by this version: ValidatingPolicy",
        ),
        (
            MUTATING_ADMISSION_POLICY,
            "not supported by this version: MutatingAdmissionPolicy",
        ),
    ],
)
def test_what_this_version_cannot_apply_fails_by_name(tested, tmp_path, policy, reason) -> None:
    """Never a silent pass."""
    offline.write(tmp_path, policy=policy)
    assert [row[3:] for row in tested(tmp_path)] == [("Fail", reason)] * 2


def test_a_failure_under_an_unscored_policy_is_a_warning(tested, tmp_path) -> None:
    """As in reports."""
    policy = rule("  annotations: {policies.kyverno.io/scored: 'false'}\n")
    manifest = offline.manifest("policy: require-team, rule: team-label, resources: [stray], result: warn")
    offline.write(tmp_path, policy=policy, manifest=manifest)
    assert tested(tmp_path)[0][3:] == ("Pass", "Ok")


def test_an_expected_skip_counts_as_passed(run, tmp_path) -> None:
    """`preconditions not met` is a skip."""
    policy = offline.POLICY.replace(
        "      validate:",
        '      preconditions: {all: [{key: "{{ request.operation }}", operator: Equals, value: UPDATE}]}\n'
        "      validate:",
    )
    manifest = offline.manifest("policy: require-team, rule: team-label, resources: [stray], result: skip")
    offline.write(tmp_path, policy=policy, manifest=manifest)
    ran = run("test", tmp_path, "--detailed-results")
    assert ran.status == 0
    assert "preconditions not met" in ran.out
    assert "Test Summary: 1 tests passed and 0 tests failed" in ran.out


def test_an_operation_of_an_entry_is_simulated_for_it_alone(tested, tmp_path) -> None:
    """DELETE brings the old object only; entries without an operation see CREATE."""
    policy = offline.POLICY.replace("pattern:", "deny:").replace(
        '          metadata:\n            labels:\n              team: "?*"\n',
        "          conditions: {all: [{key: \"{{ request.oldObject.metadata.name || '' }}\", operator: Equals, "
        "value: stray}]}\n",
    )
    manifest = offline.manifest(
        "policy: require-team, rule: team-label, resources: [stray], operation: DELETE, result: fail",
        "policy: require-team, rule: team-label, resources: [stray], operation: UPDATE, result: fail",
        "policy: require-team, rule: team-label, resources: [stray], result: pass",
    )
    offline.write(tmp_path, policy=policy, manifest=manifest)
    assert [row[3:] for row in tested(tmp_path)] == [("Pass", "Ok")] * 3


def test_an_entry_for_a_namespaced_policy_names_its_namespace(tested, tmp_path) -> None:
    """`namespace/name`; the policy sees its own namespace only."""
    policy = rule("  namespace: default\n").replace("ClusterPolicy", "Policy")
    pods = offline.PODS.replace("  name: stray", "  name: stray\n  namespace: elsewhere")
    manifest = offline.manifest("policy: default/require-team, rule: team-label, result: pass")
    offline.write(tmp_path, policy=policy, pods=pods, manifest=manifest)
    assert tested(tmp_path) == [
        ("default/require-team", "team-label", "v1/Pod/default/owned", "Pass", "Ok"),
        ("default/require-team", "team-label", "v1/Pod/elsewhere/stray", "Pass", "Excluded"),
    ]


def test_an_exception_skips_a_rule(tested, tmp_path) -> None:
    """`exceptions` of the test."""
    exception = """
        apiVersion: kyverno.io/v2
        kind: PolicyException
        metadata: {name: strays, namespace: default}
        spec:
          match: {any: [{resources: {kinds: [Pod], names: [stray]}}]}
          exceptions: [{policyName: require-team, ruleNames: [team-label]}]
    """
    manifest = offline.manifest(
        "policy: require-team, rule: team-label, resources: [stray], result: skip",
        more="exceptions: [exception.yaml]\n",
    )
    offline.write(tmp_path, exception=exception, manifest=manifest)
    assert tested(tmp_path)[0][3:] == ("Pass", "Ok")


def test_of_two_resources_with_one_key_the_first_counts(run, tmp_path) -> None:
    """The other one is named in a warning."""
    offline.write(tmp_path, pods=offline.PODS + "---\n" + offline.PODS.replace("team: blue", "other: x"))
    ran = run("test", tmp_path)
    assert ran.status == 0
    assert "found duplicated resource Pod owned default" in ran.out


def test_lists_and_folders_of_policies_are_taken_apart(tested, tmp_path) -> None:
    """A folder of policies is read with those below it, but for hidden names."""
    pods = [each.strip().replace("\n", "\n    ") for each in offline.PODS.split("---")]
    listed = "apiVersion: v1\nkind: List\nitems:\n  - " + "\n  - ".join(pods) + "\n"
    offline.write(tmp_path, pods=listed, manifest=offline.MANIFEST.replace("[policy.yaml]", "[all]"))
    offline.write(tmp_path / "all" / "deep")
    (tmp_path / "all" / ".hidden.yaml").write_text("not: [a policy")
    for name in ("kyverno-test.yaml", "pods.yaml"):
        (tmp_path / "all" / "deep" / name).unlink()
    assert [row[3:] for row in tested(tmp_path)] == [("Pass", "Ok")] * 2
