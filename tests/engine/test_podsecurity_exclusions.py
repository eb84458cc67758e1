"""What a policy excludes from the Pod Security Standards: by control, image, field and value."""

import pytest

from kymograph.engine import budget as budgets
from kymograph.engine import errors, fields
from kymograph.engine.podsecurity import exclusions, pods, standards

NET_ADMIN = {"capabilities": {"add": ["NET_ADMIN"]}}
ADDED = "spec.containers[*].securityContext.capabilities.add"


def pod(*containers, **spec):
    """A Pod; each container is its name, image and security context."""
    made = [{"name": name, "image": image, "securityContext": security} for name, image, security in containers]
    return {"kind": "Pod", "metadata": {}, "spec": {"containers": made, **spec}}


def left(resource, *entries, level="baseline", budget=None):
    """The fields that still break a check, by check."""
    problems = fields.Problems()
    excluded = exclusions.read([(each, f"exclude[{index}]") for index, each in enumerate(entries)], problems, level)
    problems.raise_if_any()
    chosen = standards.checks(level, standards.version("latest"))
    seen = pods.of(resource)
    found = standards.violations(chosen, seen)
    found = exclusions.apply(excluded, chosen, found, seen, budget or budgets.Budget())
    return {each.check: [error.path for error in each.errors] for each in found}


def exclude(control, images=None, field=None, values=None):
    entry = {"controlName": control, "images": images, "restrictedField": field, "values": values}
    return {key: value for key, value in entry.items() if value is not None}


def test_a_control_of_the_pod_is_excluded_whole():
    assert left(pod(hostNetwork=True, hostPID=True), exclude("Host Namespaces")) == {}


def test_one_field_of_a_control_is_excluded_where_all_its_values_are_allowed():
    resource = pod(hostNetwork=True, hostPID=True)
    assert left(resource, exclude("Host Namespaces", field="spec.hostPID", values=["true"])) == {
        "hostNamespaces": ["spec.hostNetwork"]
    }
    assert left(resource, exclude("Host Namespaces", field="spec.hostPID", values=["false"])) == {
        "hostNamespaces": ["spec.hostNetwork", "spec.hostPID"]
    }


def test_values_may_hold_wildcards():
    resource = pod(volumes=[{"name": "a", "hostPath": {"path": "/var/log"}}])
    assert left(resource, exclude("HostPath Volumes", field="spec.volumes[*].hostPath", values=["/var/*"])) == {}
    assert left(resource, exclude("HostPath Volumes", field="spec.volumes[*].hostPath", values=["/run/*"])) != {}


def test_only_containers_with_matching_images_are_excluded():
    resource = pod(("a", "quay.io/cilium/cilium:v1", NET_ADMIN), ("b", "nginx", NET_ADMIN))
    assert left(resource, exclude("Capabilities", ["quay.io/cilium/*"])) == {
        "capabilities_baseline": ["spec.containers[1].securityContext.capabilities.add"]
    }


def test_every_value_of_a_field_must_be_allowed():
    resource = pod(("a", "nginx", {"capabilities": {"add": ["NET_ADMIN", "SYS_TIME"]}}))
    assert left(resource, exclude("Capabilities", ["*"], ADDED, ["NET_ADMIN"])) != {}
    assert left(resource, exclude("Capabilities", ["*"], ADDED, ["NET_ADMIN", "SYS_*"])) == {}


def test_an_exclusion_for_images_leaves_the_fields_of_the_pod():
    resource = pod(("a", "nginx", {"runAsUser": 0}), securityContext={"runAsUser": 0})
    by_image = exclude("Running as Non-root user", ["*"])
    hardened = ["allowPrivilegeEscalation", "capabilities_restricted", "runAsNonRoot", "seccompProfile_restricted"]
    found = left(resource, by_image, level="restricted")
    assert found.pop("runAsUser") == ["spec.securityContext.runAsUser"]
    assert list(found) == hardened
    assert list(left(resource, by_image, exclude("Running as Non-root user"), level="restricted")) == hardened


def test_a_control_has_a_check_for_each_level():
    resource = pod(("a", "nginx", NET_ADMIN))
    found = left(resource, exclude("Capabilities", ["*"]), level="restricted")
    assert "capabilities_baseline" not in found
    assert "capabilities_restricted" not in found


def test_the_first_violation_of_a_field_is_taken_and_the_last_takes_its_place():
    """As in Kyverno, where any of several ports of a container stands for the one that is allowed."""
    resource = pod(("a", "nginx", {}))
    resource["spec"]["containers"][0]["ports"] = [{"hostPort": port} for port in (80, 81, 82)]
    field = "spec.containers[*].ports[*].hostPort"
    assert left(resource, exclude("Host Ports", ["*"], field, ["81"])) == {
        "hostPorts": ["spec.containers[0].ports[2].hostPort", "spec.containers[0].ports[1].hostPort"]
    }


def test_hosts_in_probes_cannot_be_excluded():
    resource = pod(("a", "nginx", {}))
    resource["spec"]["containers"][0]["livenessProbe"] = {"httpGet": {"host": "h"}}
    every = [exclude(name, None if name in exclusions.ABOUT_PODS else ["*"]) for name in standards.NAMES]
    assert left(resource, *every, level="restricted") == {"hostProbesAndHostLifecycle": []}


def test_looking_for_what_to_take_away_spends_from_the_budget():
    resource = pod(("a", "nginx", {}))
    resource["spec"]["containers"][0]["ports"] = [{"hostPort": port} for port in range(1, 400)]
    with pytest.raises(errors.BudgetExhausted):
        left(resource, exclude("Host Ports", ["*"]), budget=budgets.Budget(steps=100))


@pytest.mark.parametrize(
    ("entry", "level", "path", "reason"),
    [
        (
            {"controlName": "Nosuch"},
            "baseline",
            "exclude[0].controlName",
            "'Nosuch' is not one of Capabilities, Seccomp, ",
        ),
        ({}, "baseline", "exclude[0].controlName", "a control to exclude needs its name"),
        (
            exclude("Capabilities"),
            "baseline",
            "exclude[0].controlName",
            "exclude.images must be specified for the container level control",
        ),
        (
            exclude("Sysctls", ["*"]),
            "baseline",
            "exclude[0].controlName",
            "exclude.images must not be specified for the pod level control",
        ),
        (
            exclude("Volume Types"),
            "baseline",
            "exclude[0].controlName",
            "Invalid control name defined at the given level",
        ),
        (exclude("SELinux", values=["x"]), "baseline", "exclude[0].restrictedField", "restrictedField is required"),
        (
            exclude("SELinux", field="spec.securityContext.seLinuxOptions.type"),
            "baseline",
            "exclude[0].values",
            "values is required",
        ),
        (
            exclude("Host Ports", ["*"], "spec.containers[*].ports.hostPort", ["80"]),
            "baseline",
            "exclude[0].restrictedField",
            "the control 'Host Ports' has no such field",
        ),
        (exclude("Capabilities", "nginx"), "baseline", "exclude[0].images", "must be a list, not a string"),
        ({"controlName": "SELinux", "image": []}, "baseline", "exclude[0].image", "unknown field; did you mean"),
    ],
)
def test_mistakes_are_named_with_their_place(entry, level, path, reason):
    with pytest.raises(errors.PolicyInvalid) as caught:
        left(pod(), entry, level=level)
    assert any(each.path == path and each.reason.startswith(reason) for each in caught.value.problems)


@pytest.mark.parametrize(
    ("control", "field"),
    [
        ("Volume Types", "spec.volumes[*].flexVolume"),
        ("Running as Non-root", "spec.securityContext.runAsNonRoot"),
        ("Seccomp", "spec.ephemeralContainers[*].securityContext.seccompProfile.type"),
        ("AppArmor", "metadata.annotations[container.apparmor.security.beta.kubernetes.io/app]"),
        ("Sysctls", "spec.securityContext.sysctls[*].name"),
        ("HostProcess", "spec.initContainers[*].securityContext.windowsOptions.hostProcess"),
    ],
)
def test_fields_that_a_control_has_may_be_excluded(control, field):
    assert left(pod(), exclude(control, field=field, values=["*"]), level="restricted") is not None
