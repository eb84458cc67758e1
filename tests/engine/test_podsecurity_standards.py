"""The Pod Security Standards, control by control: what breaks each, from which version on, and what it says of it."""

import contextlib
import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kymograph.engine import errors
from kymograph.engine.podsecurity import pods, standards, violations

HARDENED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def pod(spec=None, annotations=None, **security):
    """A Pod that keeps to `restricted`, with fields of its spec and of its container's security context changed."""
    container = {"name": "app", "image": "app:1", "securityContext": {**copy.deepcopy(HARDENED), **security}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "annotations": annotations or {}},
        "spec": {"containers": [container], **(spec or {})},
    }


def found(resource, level="restricted", version="latest"):
    chosen = standards.checks(level, standards.version(version))
    return standards.violations(chosen, pods.of(resource))


def ids(resource, level="restricted", version="latest"):
    return [each.check for each in found(resource, level, version)]


def said(resource, level="restricted", version="latest"):
    return violations.describe(found(resource, level, version), resource["kind"])


def of_pod(**security):
    return pod({"securityContext": security})


def container(**fields):
    made = pod()
    made["spec"]["containers"][0].update(fields)
    return made


def volume(**source):
    return pod({"volumes": [{"name": "data", **source}]})


def test_a_hardened_pod_violates_nothing():
    assert ids(pod()) == []


BASELINE = [
    (pod({"hostNetwork": True}), "hostNamespaces", "spec.hostNetwork is forbidden, forbidden values found: true"),
    (pod({"hostPID": True}), "hostNamespaces", "spec.hostPID is forbidden, forbidden values found: true"),
    (pod({"hostIPC": True}), "hostNamespaces", "spec.hostIPC is forbidden, forbidden values found: true"),
    (
        volume(hostPath={"path": "/etc"}),
        "hostPathVolumes",
        "spec.volumes[0].hostPath is forbidden, forbidden values found: /etc",
    ),
    (volume(hostPath={}), "hostPathVolumes", "spec.volumes[0].hostPath: Forbidden"),
    (
        container(ports=[{"containerPort": 1}, {"hostPort": 80}]),
        "hostPorts",
        "spec.containers[0].ports[1].hostPort is forbidden, forbidden values found: 80",
    ),
    (
        pod(privileged=True),
        "privileged",
        "spec.containers[0].securityContext.privileged is forbidden, forbidden values found: true",
    ),
    (
        pod(procMount="Unmasked"),
        "procMount",
        "spec.containers[0].securityContext.procMount is forbidden, forbidden values found: Unmasked",
    ),
    (
        pod(capabilities={"drop": ["ALL"], "add": ["SYS_TIME", "NET_RAW", "CHOWN"]}),
        "capabilities_baseline",
        "spec.containers[0].securityContext.capabilities.add is forbidden, forbidden values found: [NET_RAW SYS_TIME]",
    ),
    (
        of_pod(seLinuxOptions={"type": "spc_t"}),
        "seLinuxOptions",
        "spec.securityContext.seLinuxOptions.type is forbidden, forbidden values found: spc_t",
    ),
    (
        pod(seLinuxOptions={"user": "system_u"}),
        "seLinuxOptions",
        "spec.containers[0].securityContext.seLinuxOptions.user is forbidden, forbidden values found: system_u",
    ),
    (
        pod(seLinuxOptions={"role": "system_r"}),
        "seLinuxOptions",
        "spec.containers[0].securityContext.seLinuxOptions.role is forbidden, forbidden values found: system_r",
    ),
    (
        of_pod(sysctls=[{"name": "kernel.shm_rmid_forced"}, {"name": "kernel.msgmax"}]),
        "sysctls",
        "spec.securityContext.sysctls[1].name is forbidden, forbidden values found: kernel.msgmax",
    ),
    (
        of_pod(windowsOptions={"hostProcess": True}),
        "windowsHostProcess",
        "spec.securityContext.windowsOptions.hostProcess is forbidden, forbidden values found: true",
    ),
    (
        pod(windowsOptions={"hostProcess": True}),
        "windowsHostProcess",
        "spec.containers[0].securityContext.windowsOptions.hostProcess is forbidden, forbidden values found: true",
    ),
    (
        pod(appArmorProfile={"type": "Unconfined"}),
        "appArmorProfile",
        "spec.containers[0].securityContext.appArmorProfile.type is forbidden, forbidden values found: Unconfined",
    ),
    (
        of_pod(appArmorProfile={}),
        "appArmorProfile",
        "spec.securityContext.appArmorProfile.type: Forbidden",
    ),
    (
        pod(annotations={"container.apparmor.security.beta.kubernetes.io/app": "unconfined"}),
        "appArmorProfile",
        (
            "spec.template.metadata.annotations[container.apparmor.security.beta.kubernetes.io/app] is forbidden, "
            "forbidden values found: unconfined"
        ),
    ),
    (
        pod(seccompProfile={"type": "Unconfined"}),
        "seccompProfile_baseline",
        "spec.containers[0].securityContext.seccompProfile.type is forbidden, forbidden values found: Unconfined",
    ),
]


@pytest.mark.parametrize(("resource", "check", "text"), BASELINE)
def test_baseline_forbids_what_escalates_privileges(resource, check, text):
    (violation,) = found(resource, "baseline")
    assert violation.check == check
    assert said(resource, "baseline") == f"(Forbidden reason: {violation.reason}, field error list: [{text}])"


@pytest.mark.parametrize("resource", [each[0] for each in BASELINE])
def test_restricted_contains_baseline(resource):
    assert set(ids(resource, "baseline")) <= set(ids(resource, "restricted"))


@pytest.mark.parametrize(
    "resource",
    [
        pod({"hostNetwork": False, "hostPID": None}),
        container(ports=[{"hostPort": 0}, None], livenessProbe={"httpGet": {"host": ""}}),
        pod(privileged=False, procMount="Default", seLinuxOptions={"type": "container_engine_t"}),
        of_pod(seLinuxOptions={}, sysctls=[], windowsOptions={"hostProcess": False}),
        pod(annotations={"container.apparmor.security.beta.kubernetes.io/app": "localhost/mine"}),
        pod(appArmorProfile={"type": "Localhost"}, capabilities={"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}),
        volume(hostPath=None, emptyDir={}),
    ],
)
def test_harmless_values_are_allowed(resource):
    assert ids(resource) == []


RESTRICTED = [
    (
        pod(allowPrivilegeEscalation=True),
        "allowPrivilegeEscalation",
        "spec.containers[0].securityContext.allowPrivilegeEscalation is forbidden, forbidden values found: true",
    ),
    (
        pod(allowPrivilegeEscalation=None),
        "allowPrivilegeEscalation",
        "spec.containers[0].securityContext.allowPrivilegeEscalation is forbidden, forbidden values found: nil",
    ),
    (
        pod(capabilities=None),
        "capabilities_restricted",
        "spec.containers[0].securityContext.capabilities.drop: Required value",
    ),
    (
        pod(capabilities={"drop": ["KILL", "CHOWN"]}),
        "capabilities_restricted",
        "spec.containers[0].securityContext.capabilities.drop is forbidden, forbidden values found: [CHOWN KILL]",
    ),
    (
        pod(capabilities={"drop": ["ALL"], "add": ["CHOWN"]}),
        "capabilities_restricted",
        "spec.containers[0].securityContext.capabilities.add is forbidden, forbidden values found: [CHOWN]",
    ),
    (volume(nfs={}, iscsi={}), "restrictedVolumes", "spec.volumes[0].nfs: Forbidden"),
    (volume(), "restrictedVolumes", "spec.volumes[0].unknown: Forbidden"),
    (
        pod(runAsNonRoot=None),
        "runAsNonRoot",
        "spec.containers[0].securityContext.runAsNonRoot: Required value",
    ),
    (
        pod(runAsNonRoot=False),
        "runAsNonRoot",
        "spec.containers[0].securityContext.runAsNonRoot is forbidden, forbidden values found: false",
    ),
    (
        of_pod(runAsNonRoot=False),
        "runAsNonRoot",
        "spec.securityContext.runAsNonRoot is forbidden, forbidden values found: false",
    ),
    (
        pod(runAsUser=0),
        "runAsUser",
        "spec.containers[0].securityContext.runAsUser is forbidden, forbidden values found: 0",
    ),
    (of_pod(runAsUser=0), "runAsUser", "spec.securityContext.runAsUser is forbidden, forbidden values found: 0"),
    (
        pod(seccompProfile=None),
        "seccompProfile_restricted",
        "spec.containers[0].securityContext.seccompProfile.type: Required value",
    ),
]


@pytest.mark.parametrize(("resource", "check", "text"), RESTRICTED)
def test_restricted_demands_hardening(resource, check, text):
    (violation,) = found(resource)
    assert violation.check == check
    assert said(resource) == f"(Forbidden reason: {violation.reason}, field error list: [{text}])"
    assert ids(resource, "baseline") == []


def test_the_pod_answers_for_containers_that_say_nothing():
    resource = pod({"securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "Localhost"}}})
    del resource["spec"]["containers"][0]["securityContext"]["runAsNonRoot"]
    del resource["spec"]["containers"][0]["securityContext"]["seccompProfile"]
    assert ids(resource) == []


def test_without_security_context_everything_that_must_be_set_is_missing():
    resource = pod()
    del resource["spec"]["containers"][0]["securityContext"]
    assert ids(resource) == [
        "allowPrivilegeEscalation",
        "capabilities_restricted",
        "runAsNonRoot",
        "seccompProfile_restricted",
    ]
    assert "allowPrivilegeEscalation: Required value" in said(resource)


def test_privileged_demands_nothing():
    assert ids(pod({"hostNetwork": True}, privileged=True), "privileged") == []


def test_init_and_ephemeral_containers_are_containers():
    resource = pod({"initContainers": [{"name": "i"}], "ephemeralContainers": [{"name": "e"}]})
    (first, *_) = found(resource)
    assert [each.path for each in first.errors] == [
        "spec.initContainers[0].securityContext.allowPrivilegeEscalation",
        "spec.ephemeralContainers[0].securityContext.allowPrivilegeEscalation",
    ]


@pytest.mark.parametrize(
    ("name", "refused_until", "allowed_from"),
    [
        ("net.ipv4.ip_local_reserved_ports", "v1.26", "v1.27"),
        ("net.ipv4.tcp_keepalive_time", "v1.28", "v1.29"),
        ("net.ipv4.tcp_rmem", "v1.31", "v1.32"),
    ],
)
def test_later_versions_allow_more_sysctls(name, refused_until, allowed_from):
    resource = of_pod(sysctls=[{"name": name}])
    assert ids(resource, version=refused_until) == ["sysctls"]
    assert ids(resource, version=allowed_from) == []


def test_the_se_linux_type_of_container_engines_is_allowed_from_v1_31_on():
    resource = pod(seLinuxOptions={"type": "container_engine_t"})
    assert ids(resource, version="v1.30") == ["seLinuxOptions"]
    assert ids(resource, version="v1.31") == []


def test_windows_pods_are_spared_what_windows_does_not_know_from_v1_25_on():
    resource = pod({"os": {"name": "windows"}}, allowPrivilegeEscalation=None, capabilities=None, seccompProfile=None)
    assert ids(resource, version="v1.24") == [
        "allowPrivilegeEscalation",
        "capabilities_restricted",
        "seccompProfile_restricted",
    ]
    assert ids(resource, version="v1.25") == []


def test_before_v1_19_seccomp_is_read_from_annotations():
    annotations = {
        "seccomp.security.alpha.kubernetes.io/pod": "docker/default",
        "container.seccomp.security.alpha.kubernetes.io/app": "unconfined",
        "container.seccomp.security.alpha.kubernetes.io/nobody": "unconfined",
    }
    resource = pod(annotations=annotations)
    (violation,) = found(resource, "baseline", "v1.18")
    assert [each.value for each in violation.errors] == ["unconfined"]
    assert ids(resource, "baseline", "v1.19") == []


@pytest.mark.parametrize("version", ["v1.0", "v1.33", "v1.34", "latest"])
def test_a_control_counts_in_versions_older_than_itself(version):
    resource = container(lifecycle={"preStop": {"tcpSocket": {"host": "10.0.0.1"}}})
    assert ids(resource, "baseline", version) == ["hostProbesAndHostLifecycle"]


@pytest.mark.parametrize("text", ["1.29", "v2.0", "v1", "v1.01", "v1.x", "newest", "v1.29 "])
def test_other_versions_are_none(text):
    assert standards.version(text) is None


def test_no_version_is_the_latest():
    assert standards.version("") == standards.version("latest") > standards.version("v1.99")


TEMPLATE = {"metadata": {"annotations": {}}, "spec": pod(privileged=True)["spec"]}


@pytest.mark.parametrize("kind", sorted(pods.CONTROLLERS))
def test_the_pod_of_a_controller_is_its_template(kind):
    resource = {"kind": kind, "spec": {"template": TEMPLATE}}
    assert ids(resource) == ["privileged"]
    assert "spec.template.spec.containers[0].securityContext.privileged is forbidden" in said(resource)


def test_the_pod_of_a_cron_job_is_its_jobs_template():
    resource = {"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": TEMPLATE}}}}
    assert ids(resource) == ["privileged"]
    assert "spec.jobTemplate.spec.template.spec.containers[0].securityContext.privileged" in said(resource)


def test_an_object_without_a_pod_cannot_be_judged():
    with pytest.raises(errors.EvaluationError, match="could not find correct resource type"):
        pods.of({"kind": "Service"})


JUNK = st.sampled_from([None, True, False, 0, 1.5, "", "x", [], ["x"], {}, {"a": 1}, [{}], [[]]])


@settings(deadline=None)
@given(st.data())
def test_odd_values_are_violations_or_errors_never_crashes(data):
    """Whatever stands in one place of a Pod, it is judged, or refused as wrongly typed; the Pod stays as it was."""
    resource = pod(
        {
            "securityContext": {"sysctls": [{"name": "a"}], "seLinuxOptions": {"type": "b"}, "runAsUser": 0},
            "volumes": [{"name": "v", "hostPath": {"path": "/"}}],
            "os": {"name": "linux"},
            "hostNetwork": True,
        },
        privileged=True,
        windowsOptions={"hostProcess": True},
        appArmorProfile={"type": "Unconfined"},
    )
    resource["spec"]["containers"][0].update(
        ports=[{"hostPort": 1}], livenessProbe={"httpGet": {"host": "h"}}, lifecycle={"preStop": {"httpGet": {}}}
    )
    place = resource
    for _ in range(data.draw(st.integers(1, 6))):
        keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or not place[key]:
            break
        holder, place = place, place[key]
        last = holder, key
    else:
        holder, key = last
        place = holder
    place[key] = data.draw(JUNK)
    before = copy.deepcopy(resource)
    version = data.draw(st.sampled_from(["v1.0", "v1.24", "latest"]))
    with contextlib.suppress(errors.EvaluationError):
        assert all(each.reason for each in found(resource, version=version))
    assert resource == before
