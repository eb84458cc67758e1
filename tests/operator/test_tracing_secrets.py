"""Exporters with certificates and headers from Secrets: which Secrets may be used, and how they rotate."""

import base64
import functools
import json

import pytest

from kymograph.localcluster import installation, pki
from support import receivers as fakes
from support.installed import NO_PRIVILEGES, TRACING, eventually, pod

NAMESPACE = "kymograph"
LABEL = "kymograph.dev/telemetry"
AUTHORITY, NEXT_AUTHORITY = pki.Authority("collector-ca"), pki.Authority("next-collector-ca")
CLIENTS = pki.Authority("clients")
TOKENS = ("first-s3cr3t-token", "second-s3cr3t-token")


@pytest.fixture
def receivers(installed, usual_configuration):
    """Start receivers; they stop with the test, of which no Secret is left."""
    started = []

    def start(protocol, **given):
        started.append(fakes.start(protocol, **given))
        return started[-1]

    yield start
    installed.kubectl("delete", "secret", "-n", NAMESPACE, "-l", "test=tracing-secrets")
    for each in started:
        each.stop()


def secret(installed, name: str, *, label: str | None = "true", **data: bytes) -> None:
    """Write a Secret; keys have `_` for `.`."""
    labels = {"test": "tracing-secrets", **({LABEL: label} if label is not None else {})}
    installed.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
            "data": {key.replace("_", "."): base64.b64encode(value).decode() for key, value in data.items()},
        }
    )


def accepted(installed, status: str, reason: str = "") -> dict:
    """The condition Accepted, once it has this status and reason for the resource as it is now."""

    def look():
        document = installed.get(*TRACING)
        conditions = {each["type"]: each for each in document.get("status", {}).get("conditions", [])}
        found = conditions.get("Accepted", {})
        current = found.get("observedGeneration") == document["metadata"]["generation"]
        return current and found["status"] == status and reason in {"", found["reason"]} and found

    return eventually(look)


def configuration(receiver, **more) -> dict:
    return {
        "traces": {
            "endpoint": receiver.endpoint,
            "protocol": receiver.protocol,
            "samplingRatePerMillion": 1_000_000,
            "tls": {
                "caSecretRef": {"name": "otel-ca", "key": "ca.pem"},
                "clientCertificateSecretRef": {"name": "otel-client"},
            },
            "headers": [
                {"name": "x-scope-orgid", "value": "tenant-1"},
                {"name": "authorization", "valueFrom": {"secretKeyRef": {"name": "otel-token", "key": "token"}}},
            ],
            **more,
        }
    }


def secrets(installed, authority=AUTHORITY, token=TOKENS[0]) -> None:
    client = CLIENTS.client("kymograph")
    secret(installed, "otel-ca", ca_pem=authority.pair.certificate)
    secret(installed, "otel-client", tls_crt=client.certificate, tls_key=client.key)
    secret(installed, "otel-token", token=f"Bearer {token}\n".encode())


def traced(installed, receiver) -> bool:
    """Whether a request's spans arrive."""
    before = len(receiver.spans)
    installed.create(pod("traced", privileged=True))
    return bool(eventually(lambda: len(receiver.spans) > before))


@pytest.mark.parametrize("protocol", fakes.PROTOCOLS)
def test_traces_leave_with_certificates_and_tokens_that_rotate(installed, enforce, receivers, protocol) -> None:
    """Mutual TLS and a token from Secrets; another token, another authority, without a restart and within seconds."""
    enforce(NO_PRIVILEGES)
    serving = AUTHORITY.server("collector", ["127.0.0.1"])
    port = installation.free_port()  # which is free for the next receiver, too
    receiver = receivers(protocol, port=port, tls=serving, client_ca=CLIENTS.pair.certificate)
    started = installed.operator.process.pid
    secrets(installed)
    installed.configure(configuration(receiver))
    accepted(installed, "True")
    assert traced(installed, receiver)
    sent = receiver.headers[-1]
    assert (sent["authorization"], sent["x-scope-orgid"]) == (f"Bearer {TOKENS[0]}", "tenant-1")

    secret(installed, "otel-token", token=f"Bearer {TOKENS[1]}".encode())
    eventually(
        lambda: traced(installed, receiver) and receiver.headers[-1]["authorization"] == f"Bearer {TOKENS[1]}",
    )

    receiver.stop()
    installed.create(pod("while-it-changes", privileged=True))
    changed = NEXT_AUTHORITY.server("collector", ["127.0.0.1"])
    following = receivers(protocol, port=port, tls=changed, client_ca=CLIENTS.pair.certificate)
    secret(installed, "otel-ca", ca_pem=NEXT_AUTHORITY.pair.certificate)
    eventually(lambda: following.spans)
    assert traced(installed, following)
    assert installed.operator.process.pid == started

    status = json.dumps(installed.get(*TRACING))
    for text in (status, installed.operator.log.read_text()):
        for hidden in (*TOKENS, "PRIVATE KEY"):
            assert hidden not in text


def test_a_secret_without_the_label_may_not_be_used_and_the_last_good_configuration_goes_on(
    installed, enforce, receivers
) -> None:
    """Who may edit the resource names Secrets; who may write Secrets says which of them may leave the cluster."""
    enforce(NO_PRIVILEGES)
    good, bad = receivers(fakes.GRPC), receivers(fakes.GRPC)
    installed.configure({"traces": {"endpoint": good.endpoint, "samplingRatePerMillion": 1_000_000}})
    accepted(installed, "True")
    headers = [{"name": "authorization", "valueFrom": {"secretKeyRef": {"name": "otel-token", "key": "token"}}}]
    for label in (None, "false"):
        secret(installed, "otel-token", label=label, token=TOKENS[0].encode())
        installed.configure({"traces": {"endpoint": bad.endpoint, "headers": headers}})
        message = accepted(installed, "False", "SecretNotAllowed")["message"]
        assert f"{LABEL}=true" in message
        assert TOKENS[0] not in message
        assert traced(installed, good)
    assert bad.headers == []

    secret(installed, "otel-token", token=TOKENS[0].encode())
    accepted(installed, "True")
    assert traced(installed, bad), "the label is all that was missing, and it was noticed"


def test_the_operators_own_secret_is_never_used_whatever_its_labels(installed, receivers) -> None:
    """Its key is what every API server of the cluster trusts."""
    receiver = receivers(fakes.GRPC)
    headers = [{"name": "stolen", "valueFrom": {"secretKeyRef": {"name": "kymograph-tls", "key": "tls.key"}}}]
    installed.kubectl("label", "secret", "kymograph-tls", "-n", NAMESPACE, f"{LABEL}=true")
    try:
        installed.configure({"traces": {"endpoint": receiver.endpoint, "headers": headers}})
        assert "operator's own" in accepted(installed, "False", "SecretNotAllowed")["message"]
    finally:
        installed.kubectl("label", "secret", "kymograph-tls", "-n", NAMESPACE, f"{LABEL}-")
    assert receiver.headers == []


def test_a_secret_that_comes_late_is_noticed(installed, enforce, receivers) -> None:
    """First the Secret is missing, then the entry, then all is well; nobody touches the resource meanwhile."""
    enforce(NO_PRIVILEGES)
    receiver = receivers(fakes.HTTP, tls=AUTHORITY.server("collector", ["127.0.0.1"]))
    installed.configure(
        {
            "traces": {
                "endpoint": receiver.endpoint,
                "protocol": "http/protobuf",
                "tls": {"caSecretRef": {"name": "otel-ca", "key": "ca.pem"}},
            }
        }
    )
    assert "otel-ca" in accepted(installed, "False", "SecretMissing")["message"]
    secret(installed, "otel-ca", other=b"x")
    eventually(lambda: "'ca.pem'" in accepted(installed, "False", "SecretMissing")["message"])
    secret(installed, "otel-ca", ca_pem=b"nonsense")
    assert "cannot be used" in accepted(installed, "False", "SettingsInvalid")["message"]
    secret(installed, "otel-ca", ca_pem=AUTHORITY.pair.certificate)
    accepted(installed, "True")
    assert traced(installed, receiver)


def test_the_operator_may_read_a_secret_by_name_and_not_list_them(installed) -> None:
    """Least privilege: what it is not told the name of it cannot find.

    What another test had granted for its time may be in force a moment longer.
    """
    account = "--as=system:serviceaccount:kymograph:kymograph"
    for verb, resource, namespace, allowed in (
        ("get", "secrets/otel-token", NAMESPACE, "yes"),
        ("list", "secrets", NAMESPACE, "no"),
        ("watch", "secrets", NAMESPACE, "no"),
        ("get", "secrets/any", "default", "no"),
        ("delete", "secrets/otel-token", NAMESPACE, "no"),
        ("update", "secrets/otel-token", NAMESPACE, "no"),
    ):
        ask = functools.partial(
            installed.kubectl, "auth", "can-i", verb, resource, "-n", namespace, account, check=False
        )
        eventually(lambda ask=ask, allowed=allowed: ask().stdout.strip() == allowed)


HEADER = {"name": "a", "value": "b"}


@pytest.mark.parametrize(
    ("traces", "complaint"),
    [
        ({"protocol": "http/json"}, "spec.traces.protocol"),
        ({"insecure": True, "tls": {}}, "insecure and tls exclude each other"),
        ({"tls": {"caSecretRef": {"name": "a"}}}, "spec.traces.tls.caSecretRef.key"),
        ({"tls": {"caSecretRef": {"name": "../a", "key": "b"}}}, "spec.traces.tls.caSecretRef.name"),
        ({"headers": [{"name": "a"}]}, "either value or valueFrom must be set"),
        (
            {"headers": [{**HEADER, "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}]},
            "either value or valueFrom must be set",
        ),
        ({"headers": [{"name": "Upper", "value": "b"}]}, "spec.traces.headers[0].name"),
        ({"headers": [{"name": "content-type", "value": "b"}]}, "set by the transport itself"),
        ({"headers": [HEADER, HEADER]}, "Duplicate value"),
        ({"headers": [{"name": f"a{each}", "value": "b"} for each in range(17)]}, "must have at most 16 items"),
        ({"keep": {"slowerThan": "soon"}}, "spec.traces.keep.slowerThan"),
        ({"keep": {"slowerThan": "0s"}}, "must be a positive duration"),
        ({"keep": {"policies": ["a/b/c"]}}, "spec.traces.keep.policies[0]"),
        ({"keep": {"policies": [f"a{each}" for each in range(65)]}}, "must have at most 64 items"),
        ({"controllers": {"nobody": {}}}, 'unknown field "spec.traces.controllers.nobody"'),
        ({"controllers": {"reports": {"samplingRatePerMillion": -1}}}, "controllers.reports.samplingRatePerMillion"),
        ({"parentTracesPerSecond": -1}, "spec.traces.parentTracesPerSecond"),
    ],
)
def test_a_wrong_field_is_refused_by_the_api_server(installed, traces: dict, complaint: str) -> None:
    """The author reads it in kubectl's answer."""
    document = {"apiVersion": "kymograph.dev/v1alpha1", "kind": "TracingConfiguration", "metadata": {"name": "default"}}
    given = {**document, "spec": {"traces": {"endpoint": f"127.0.0.1:{installation.free_port()}", **traces}}}
    refused = installed.kubectl("apply", "--dry-run=server", "-f", "-", given=given, check=False)
    assert refused.returncode == 1
    assert complaint in refused.stderr
