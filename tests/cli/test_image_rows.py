"""`kymograph test` with verifyImages rules: rows for both of their parts, and none that claims to know signatures."""

import pytest

from support import offline

DIGEST = "sha256:" + "a" * 64
SIGNED = "attestors: [{entries: [{keys: {publicKeys: key}}]}]"


def policy(entry):
    return (
        "apiVersion: kyverno.io/v1\nkind: ClusterPolicy\nmetadata: {name: images}\nspec:\n  rules:\n"
        "    - name: verify\n      match: {any: [{resources: {kinds: [Pod]}}]}\n"
        f"      verifyImages: [{{imageReferences: ['*'], {entry}}}]\n"
    )


def pod(image):
    return f"apiVersion: v1\nkind: Pod\nmetadata: {{name: x}}\nspec: {{containers: [{{name: c, image: '{image}'}}]}}\n"


@pytest.mark.parametrize(
    ("entry", "image", "rows"),
    [
        ("mutateDigest: false, required: false", "nginx:1", ["Excluded", "Want pass, got fail"]),
        ("mutateDigest: false, required: false", f"nginx@{DIGEST}", ["Excluded", "Ok"]),
        ("mutateDigest: false", f"nginx@{DIGEST}", ["Excluded", "Want pass, got fail"]),
        ("failureAction: Enforce, required: false", "nginx:1", ["Want pass, got error", "Want pass, got fail"]),
        ("failureAction: Enforce, required: false", f"nginx@{DIGEST}", ["Excluded", "Ok"]),
        ("mutateDigest: false, verifyDigest: false, required: false", "nginx:1", ["Excluded"]),
        (
            f"mutateDigest: false, verifyDigest: false, skipImageReferences: ['docker.io/*'], {SIGNED}",
            "nginx:1",
            ["Want pass, got skip", "Want pass, got skip"],
        ),
        (f"mutateDigest: false, {SIGNED}", "nginx:1", ["not supported by this version: signatures of images"]),
        ("mutateDigest: true", "nginx:1", ["Invalid Policy"]),
    ],
)
def test_rows_are_for_what_was_made_of_images_and_what_was_found(tested, tmp_path, entry, image, rows) -> None:
    """As Kyverno has them, without a network; what would need a signature is one row that fails."""
    manifest = offline.manifest("policy: images, rule: verify, resources: [x], result: pass")
    offline.write(tmp_path, policy=policy(entry), pods=pod(image), manifest=manifest)
    assert [row[4] for row in tested(tmp_path)] == rows


def test_what_a_failed_signature_would_mean_is_not_claimed(tested, tmp_path) -> None:
    """A test that expects a failure does not pass because nobody looked."""
    manifest = offline.manifest("policy: images, rule: verify, resources: [x], result: fail")
    offline.write(tmp_path, policy=policy(f"mutateDigest: false, {SIGNED}"), pods=pod("nginx:1"), manifest=manifest)
    assert [row[3] for row in tested(tmp_path)] == ["Fail"]


def test_a_policy_is_explained(run, tmp_path) -> None:
    """What is demanded of which images, and both webhooks."""
    (tmp_path / "policy.yaml").write_text(policy("required: false, failureAction: Enforce"))
    said = run("explain", tmp_path / "policy.yaml").out
    assert "verifyImages: images * get the digest of their tag and must be named by a digest" in said
    assert "fail.mutate.kymograph.dev" in said
    assert "fail.validate.kymograph.dev" in said
