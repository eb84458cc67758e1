"""Who administers a namespace writes its policies, who views it reads them; neither excuses anybody from a policy."""

import pytest

from support.installed import eventually

NAMESPACE = "of-a-team"
EVERYTHING = ("policies.kyverno.io", "cleanuppolicies.kyverno.io", "policyexceptions.kyverno.io")


@pytest.fixture(scope="module")
def team(installed):
    """A namespace with one user of each of Kubernetes' own roles."""
    installed.kubectl("create", "namespace", NAMESPACE)
    for role in ("view", "admin"):
        installed.kubectl(
            "create", "rolebinding", role, f"--clusterrole={role}", f"--user=team-{role}", "-n", NAMESPACE
        )
    yield installed
    installed.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def may(team, user, verb, resource, *arguments) -> bool:
    """Whether the API server lets a user do that; it aggregates roles within moments."""
    asked = team.kubectl("auth", "can-i", verb, resource, f"--as=team-{user}", *arguments, check=False)
    return asked.stdout.strip() == "yes"


@pytest.mark.parametrize("user", ["view", "admin"])
@pytest.mark.parametrize("resource", [*EVERYTHING, "policyreports.wgpolicyk8s.io", "updaterequests.kyverno.io"])
def test_who_sees_a_namespace_sees_its_policies_and_reports(team, user, resource) -> None:
    """Both roles read them all."""
    eventually(lambda: may(team, user, "list", resource, "-n", NAMESPACE))


def test_only_an_administrator_of_the_namespace_writes_its_policies(team) -> None:
    """And no exceptions, no reports, no policies for the cluster."""

    def written() -> list[str]:
        return [each for each in EVERYTHING if may(team, "admin", "create", each, "-n", NAMESPACE)]

    eventually(lambda: written() == ["policies.kyverno.io", "cleanuppolicies.kyverno.io"])
    assert not any(may(team, "view", "create", each, "-n", NAMESPACE) for each in EVERYTHING)
    assert not may(team, "admin", "update", "policyreports.wgpolicyk8s.io", "-n", NAMESPACE)
    assert not may(team, "admin", "create", "clusterpolicies.kyverno.io")
