"""`kymograph test` of git repositories, and of policies that are written in a deprecated way."""

import subprocess

import pytest

from support import offline


@pytest.fixture
def checkout(tmp_path):
    """A checkout with a test on the branch `main`, which is not among the files that lie there."""
    root = tmp_path / "policies"
    folder = root / "pods"
    folder.mkdir(parents=True)
    offline.write(folder)
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "a"]):
        subprocess.run([*git, *command], check=True)
    (folder / "kyverno-test.yaml").unlink()
    return root


def test_repositories_are_cloned_and_named_by_their_url(run, checkout):
    for arguments in ([checkout.as_uri()], [checkout, "--git-branch", "main"]):
        ran = run("test", *arguments, "--summary", "folder")
        assert ran.status == 0
        assert f"{checkout}/pods/kyverno-test.yaml )" in ran.out
        assert "kymograph-git-" not in ran.out
    assert "No test yamls available" in run("test", checkout).err


def test_a_repository_that_is_not_there_is_an_error(run, checkout):
    ran = run("test", checkout, "--git-branch", "absent")
    assert ran.status == 1
    assert ran.err.startswith("Error: file://")
    assert "failed to clone repository" in ran.err


def test_deprecated_ways_are_errors_where_asked(run, tmp_path):
    offline.write(tmp_path)
    assert run("test", tmp_path, "--warnings-as-errors").status == 0
    spec = "spec:\n  validationFailureAction: enforce\n"
    offline.write(tmp_path, policy=offline.POLICY.replace("spec:\n", spec, 1))
    assert run("test", tmp_path).status == 0
    ran = run("test", tmp_path, "--warnings-as-errors")
    assert ran.status == 1
    assert "spec.validationFailureAction is deprecated" in ran.err
