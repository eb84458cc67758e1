"""`kymograph test` on many tests, beside Kyverno's command line where `KYMOGRAPH_KYVERNO=FILE` names it.

    KYMOGRAPH_BENCHMARKS=long pytest tests/benchmarks/test_policy_test_speed.py

In the long form on the public policy tests, where they lie beside the repository: the folders without CEL, which both
can run. Otherwise on copies of a small test.
"""

import pathlib
import re
import sys

import pytest

from support import commands

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(900)]

COMMAND = (sys.executable, "-m", "kymograph.cli.main")
CORPUS = pathlib.Path(__file__).parents[3] / "shared" / "corpus" / "kyverno-policies"
WITH_CEL = ("-cel", "-vpol", "-mpol")

POLICY = """
apiVersion: kyverno.io/v1
kind: ClusterPolicy
metadata: {name: require-team}
spec:
  rules:
    - name: team
      match: {any: [{resources: {kinds: [Pod]}}]}
      validate: {message: whose is it?, pattern: {metadata: {labels: {team: "?*"}}}}
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {name: stray}
spec: {containers: [{name: main, image: "example.org/app:1"}]}
"""
TEST = """
apiVersion: cli.kyverno.io/v1alpha1
kind: Test
metadata: {name: teams}
policies: [policy.yaml]
resources: [pod.yaml]
results: [{policy: require-team, rule: team, kind: Pod, resources: [stray], result: fail}]
"""


@pytest.fixture
def folders(is_long, tmp_path):
    """The folders to run the tests of."""
    if is_long and CORPUS.is_dir():
        return sorted(str(each) for each in CORPUS.iterdir() if not each.name.endswith(WITH_CEL))
    for number in range(50):
        folder = tmp_path / f"copy-{number}"
        folder.mkdir()
        for name, text in (("policy.yaml", POLICY), ("pod.yaml", POD), ("kyverno-test.yaml", TEST)):
            (folder / name).write_text(text)
    return [str(tmp_path)]


def test_policy_tests(figure, peer, folders):
    """All of them pass, and so they do there."""
    ran = commands.run(*COMMAND, "test", *folders)
    passed = re.search(r"Test Summary: (\d+) tests passed and 0 tests failed", ran.output)
    assert passed, ran.output[-2000:] + ran.errors[-2000:]
    figure(f"{passed[1]} rows  {ran}")
    if peer is not None:
        theirs = commands.run(peer, "test", *folders)
        assert passed[0] in theirs.output
        figure(f"the same by Kyverno  {theirs}   {theirs.wall / ran.wall:.1f} times the wall time")
