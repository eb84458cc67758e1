"""`kymograph tracing render`: configuration that Kubernetes' components take, or the reason why there is none."""

import json

import pytest
import yaml

TRACES = {"endpoint": "10.0.0.7:4317", "insecure": True, "samplingRatePerMillion": 100}


@pytest.fixture
def render(run, tmp_path):
    """Render for a TracingConfiguration with these traces."""

    def go(component, traces, *flags):
        spec = {} if traces is None else {"traces": traces}
        document = {"apiVersion": "kymograph.dev/v1alpha1", "kind": "TracingConfiguration", "spec": spec}
        (tmp_path / "resource.yaml").write_text(json.dumps(document))
        return run("tracing", "render", f"--for={component}", "--file", tmp_path / "resource.yaml", *flags)

    return go


def test_the_api_servers_file_says_where_to_and_how_much(render) -> None:
    """The kind of KEP-647, with the flag that names it in a comment."""
    ran = render("kube-apiserver", TRACES)
    assert (ran.status, ran.err) == (0, "")
    assert yaml.safe_load(ran.out) == {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "TracingConfiguration",
        "endpoint": "10.0.0.7:4317",
        "samplingRatePerMillion": 100,
    }
    assert "# tracing.yaml: kube-apiserver --tracing-config-file=/etc/kubernetes/kymograph/tracing.yaml\n" in ran.out


def test_the_kubelets_stanza_says_the_same(render) -> None:
    """In its own configuration's kind."""
    ran = render("kubelet", TRACES)
    assert yaml.safe_load(ran.out) == {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "tracing": {"endpoint": "10.0.0.7:4317", "samplingRatePerMillion": 100},
    }


def test_with_a_client_certificate_the_api_server_shows_it_to_webhooks(render, tmp_path) -> None:
    """Three files that name each other where they will be."""
    flags = ("--client-certificate=/p/c.crt", "--client-key=/p/c.key", "--directory=/etc/k8s/")
    written = tmp_path / "new" / "files"
    assert render("kube-apiserver", TRACES, *flags, "--write", written).out == ""
    files = {path.name: yaml.safe_load(path.read_text()) for path in written.iterdir()}
    assert sorted(files) == ["admission.yaml", "tracing.yaml", "webhooks.kubeconfig"]
    plugins = files["admission.yaml"]["plugins"]
    assert {each["name"] for each in plugins} == {"MutatingAdmissionWebhook", "ValidatingAdmissionWebhook"}
    assert {each["configuration"]["kubeConfigFile"] for each in plugins} == {"/etc/k8s/webhooks.kubeconfig"}
    assert files["webhooks.kubeconfig"]["users"] == [
        {"name": "*", "user": {"client-certificate": "/p/c.crt", "client-key": "/p/c.key"}}
    ]
    assert [each["kind"] for each in yaml.safe_load_all(render("kube-apiserver", TRACES, *flags).out)] == [
        "TracingConfiguration",
        "AdmissionConfiguration",
        "Config",
    ]


@pytest.mark.parametrize(
    ("traces", "reason"),
    [
        (None, "spec.traces is not set"),
        ({"endpoint": "c:4318", "protocol": "http/protobuf", "insecure": True}, "by http/protobuf"),
        ({"endpoint": "c:4317"}, "by TLS"),
        ({**TRACES, "headers": [{"name": "a", "value": "b"}]}, "it is sent headers"),
        ({"endpoint": "c"}, "traces.endpoint: 'c' is not host:port"),
    ],
)
def test_what_the_components_cannot_do_is_refused(render, traces, reason) -> None:
    """Never rendered without it: they would send to nobody and say nothing."""
    ran = render("kube-apiserver", traces)
    assert (ran.status, ran.out) == (1, "")
    assert reason in ran.err


@pytest.mark.parametrize("traces", [None, {"endpoint": "c:4318", "protocol": "http/protobuf"}, {"endpoint": "c:4317"}])
def test_another_endpoint_can_be_named(render, traces) -> None:
    """A collector that takes what they send."""
    ran = render("kubelet", traces, "--endpoint=10.0.0.9:4317", "--sampling-rate-per-million=5")
    assert yaml.safe_load(ran.out)["tracing"] == {"endpoint": "10.0.0.9:4317", "samplingRatePerMillion": 5}


@pytest.mark.parametrize(
    ("traces", "note"),
    [
        ({}, "localhost:4317 is on the component's own node"),
        ({}, "at rate 0"),
        ({**TRACES, "endpoint": "collector.observability:4317"}, "must resolve on the nodes"),
    ],
)
def test_what_may_surprise_is_noted(render, traces, note) -> None:
    """On standard error, beside the file."""
    ran = render("kubelet", traces)
    assert (ran.status, note in ran.err) == (0, True)


@pytest.mark.parametrize(
    ("flags", "reason"),
    [(("--client-key=/k",), "go together"), (("--client-key=/k", "--client-certificate=/c"), "kube-apiserver's")],
)
def test_half_a_certificate_or_a_kubelets_is_refused(render, flags, reason) -> None:
    """Only API servers call webhooks."""
    ran = render("kube-apiserver" if reason == "go together" else "kubelet", TRACES, *flags)
    assert (ran.status, reason in ran.err) == (1, True)


def test_a_file_without_a_tracing_configuration_is_refused(run, tmp_path) -> None:
    """Kubernetes' own kind of that name is none."""
    (tmp_path / "f.yaml").write_text("apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\n")
    ran = run("tracing", "render", "--for=kubelet", "--file", tmp_path / "f.yaml")
    assert (ran.status, "there are 0 TracingConfigurations" in ran.err) == (1, True)


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("spec: a", "spec: must be an object"),
        ("spec:\n  traces: a", "4: spec.traces: must be an object"),
        ("spec:\n  traces: {headers: 5}", "4: spec.traces.headers: must be a list"),
        ("spec:\n  traces: {headers: [a]}", "4: spec.traces.headers[0]: must be an object"),
        ("spec:\n  trace: {}", "4: spec.trace: unknown field; did you mean 'traces'?"),
        (
            "spec:\n  traces:\n    samplingRatePerMillion: -1",
            "5: spec.traces.samplingRatePerMillion: must be at least 0",
        ),
        ("spec:\n  traces:\n    insecure: 1", "5: spec.traces.insecure: must be true or false"),
        ("spec:\n  metrics:\n    prefix: k", "5: spec.metrics.prefix: must be one of "),
    ],
)
def test_what_the_api_server_would_refuse_is_refused_with_its_place(run, tmp_path, spec, problem) -> None:
    """By the schema of the CRD."""
    (tmp_path / "f.yaml").write_text(f"apiVersion: kymograph.dev/v1alpha1\nkind: TracingConfiguration\n{spec}\n")
    ran = run("tracing", "render", "--for=kubelet", "--file", tmp_path / "f.yaml")
    assert (ran.status, problem in ran.err) == (1, True), ran.err


def test_a_cluster_that_cannot_be_reached_is_said(run, tmp_path) -> None:
    """No stack trace."""
    ran = run("tracing", "render", "--for=kubelet", "--kubeconfig", tmp_path / "none")
    assert (ran.status, "none" in ran.err) == (1, True)
