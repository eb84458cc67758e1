"""Tests of policies on disk, as users keep them: a policy, resources and a `kyverno-test.yaml` beside each other."""

import pathlib
import textwrap

POLICY = """
apiVersion: kyverno.io/v1
kind: ClusterPolicy
metadata:
  name: require-team
spec:
  rules:
    - name: team-label
      match:
        any:
          - resources:
              kinds: [Pod]
      validate:
        message: every Pod says whose it is
        pattern:
          metadata:
            labels:
              team: "?*"
"""

PODS = """
apiVersion: v1
kind: Pod
metadata:
  name: owned
  labels: {team: blue}
spec:
  containers: [{name: main, image: example.org/app:1}]
---
apiVersion: v1
kind: Pod
metadata:
  name: stray
spec:
  containers: [{name: main, image: example.org/app:1}]
"""

MANIFEST = """
apiVersion: cli.kyverno.io/v1alpha1
kind: Test
metadata:
  name: teams
policies: [policy.yaml]
resources: [pods.yaml]
results:
  - policy: require-team
    rule: team-label
    kind: Pod
    resources: [owned]
    result: pass
  - policy: require-team
    rule: team-label
    kind: Pod
    resources: [stray]
    result: fail
"""


def write(folder: pathlib.Path, **files: str) -> pathlib.Path:
    """Write a test; a file not given is that of the example.

    Args:
        folder: Where.
        files: Contents by name without `.yaml`; `manifest` is `kyverno-test.yaml`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {"policy": POLICY, "pods": PODS, "manifest": MANIFEST, **files}.items():
        file = "kyverno-test.yaml" if name == "manifest" else f"{name}.yaml"
        (folder / file).write_text(textwrap.dedent(text))
    return folder


def manifest(*results: str, policies: str = "[policy.yaml]", resources: str = "[pods.yaml]", more: str = "") -> str:
    """A `kyverno-test.yaml` with some results.

    Args:
        results: Each a flow map without its braces: `policy: a, rule: b, result: pass`.
        policies: The files of policies.
        resources: The files of resources.
        more: Further fields, in lines of their own.
    """
    entries = "".join(f"  - {{kind: Pod, {each}}}\n" for each in results)
    head = "apiVersion: cli.kyverno.io/v1alpha1\nkind: Test\nmetadata: {name: example}\n"
    return f"{head}policies: {policies}\nresources: {resources}\n{textwrap.dedent(more)}results:\n{entries}"
