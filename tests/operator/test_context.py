"""Contexts are live: ConfigMaps, API calls, services, global entries and exceptions, under the shipped role."""

import contextlib
import threading
import time
from http import server

import pytest

from kymograph.localcluster import cluster as localcluster
from kymograph.localcluster import installation, options
from support import pods, reviewing
from support.installed import Installed, eventually, install, pod, policy

pytestmark = pytest.mark.timeout(400)  # the first test starts a control plane and an operator of its own

TEAM = "{{ request.object.metadata.labels.team || '' }}"


class Teams:
    """A service that knows which teams there are, on loopback, and remembers how it was asked."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []
        teams = self

        class Handler(server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                teams.headers.append(dict(self.headers))
                body = b'{"teams": ["shop", "bank"]}'
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/teams?key=secret"


@pytest.fixture(scope="module")
def teams():
    made = Teams()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@pytest.fixture(scope="module")
def trusting(otlp):
    """The operator in a cluster of its own: a service on loopback may be called, exceptions may be anywhere."""
    flags = ["--service-call-trusted=127.0.0.1", "--exception-namespace=*"]
    with localcluster.LocalCluster(options.Options(tracing=options.Tracing(endpoint=otlp.endpoint))) as cluster:
        install(cluster)
        made = Installed(cluster, installation.Operator(cluster, flags=flags))
        made.configure({"traces": {"endpoint": otlp.endpoint, "samplingRatePerMillion": 1_000_000}})
        with made.operator:
            yield made


@pytest.fixture
def enforcing(trusting):
    """Have a policy with a context enforced for the length of the test."""
    with contextlib.ExitStack() as stack:

        def start(name, entry, value):
            condition = {"key": TEAM, "operator": "AnyNotIn", "value": value}
            document = policy(
                name, {"message": f"unknown team by {name}", "deny": {"conditions": {"any": [condition]}}}
            )
            document["spec"]["rules"][0]["context"] = [{"name": "known", **entry}]
            stack.callback(trusting.forget_policies)
            trusting.enforce(document)

        yield start


def refused(trusting, otlp, name, span):
    """Have a Pod of a strange team refused; the client span of that name in the review's trace, under the review."""
    assert trusting.create(pod(f"{name}-good", labels={"team": "shop"}), "--dry-run=server").stderr == ""
    denied = trusting.create(pod(name, labels={"team": "strangers"}), "--dry-run=server")
    assert "unknown team by" in denied.stderr
    review = otlp.wait_for(
        lambda each: each.name == "admission validate CREATE Pod" and each.attributes["admission.request.name"] == name,
        60,
    )
    found = otlp.wait_for_trace(review.trace_id, lambda trace: any(each.name == span for each in trace), 60)
    by_id = {each.span_id: each for each in found}
    (made,) = [each for each in found if each.name == span and _is_below(each, review, by_id)]
    assert made.kind == "client"
    return made


def _is_below(span, above, by_id):
    while span is not None and span is not above and span.span_id != above.span_id:
        span = by_id.get(span.parent_id)
    return span is not None


def test_a_config_map_is_read(trusting, enforcing, otlp) -> None:
    """In any namespace; a change counts at once."""
    trusting.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "teams", "namespace": "default"},
            "data": {"names": '["shop", "bank"]'},
        }
    )
    entry = {"configMap": {"name": "teams", "namespace": "default"}}
    enforcing("by-config-map", entry, "{{ parse_json(known.data.names) }}")
    span = refused(trusting, otlp, "config-map", "KUBE get configmaps")
    assert span.attributes["kube.client.namespace"] == "default"
    trusting.kubectl("patch", "configmap", "teams", "-p", '{"data": {"names": "[\\"strangers\\"]"}}')
    assert trusting.create(pod("now", labels={"team": "strangers"}), "--dry-run=server").stderr == ""


def test_the_api_server_is_called(trusting, enforcing, otlp) -> None:
    """With the operator's rights, which are those of `view`."""
    trusting.kubectl("create", "namespace", "shop")
    entry = {"apiCall": {"urlPath": "/api/v1/namespaces", "jmesPath": "items[].metadata.name"}}
    enforcing("by-api-call", entry, "{{ known }}")
    span = refused(trusting, otlp, "api-call", "KUBE list namespaces")
    assert span.attributes["http.response.status_code"] == 200


def test_what_the_operator_may_not_read_is_an_error_that_says_so(trusting, enforcing) -> None:
    """Secrets are not for policies."""
    entry = {"apiCall": {"urlPath": "/api/v1/secrets", "jmesPath": "items[].metadata.name"}}
    enforcing("by-secret", entry, "{{ known }}")
    denied = trusting.create(pod("curious"), "--dry-run=server").stderr
    assert "permission denied" in denied
    assert 'cannot list resource "secrets"' in denied


def test_a_role_with_kyvernos_label_adds_what_policies_may_read(trusting, enforcing) -> None:
    """Users of Kyverno keep the roles they have."""
    trusting.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {
                "name": "kyverno:nodes",
                "labels": {"rbac.kyverno.io/aggregate-to-admission-controller": "true"},
            },
            "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}],
        }
    )
    entry = {"apiCall": {"urlPath": "/api/v1/nodes", "jmesPath": "items[].metadata.name"}}
    enforcing("by-node", entry, "{{ known }}")
    eventually(lambda: "unknown team by by-node" in trusting.create(pod("any"), "--dry-run=server").stderr)


def test_a_service_is_called(trusting, enforcing, otlp, teams) -> None:
    """It is told the trace context where it is trusted, and nobody records its query."""
    entry = {"apiCall": {"method": "GET", "service": {"url": teams.url}, "jmesPath": "teams"}}
    enforcing("by-service", entry, "{{ known }}")
    span = refused(trusting, otlp, "service", "HTTP GET")
    assert span.attributes["url.full"] == teams.url.partition("?")[0]
    assert f"00-{span.trace_id}-{span.span_id}-01" in [each.get("traceparent") for each in teams.headers]
    assert not any("Authorization" in each for each in teams.headers)


def test_b3_and_baggage_are_read_and_passed_on(trusting, enforcing, otlp, teams) -> None:
    """Where `propagators` says so: the trace of a caller who speaks B3 goes on in whom the policy calls."""
    usual = {"traces": {"endpoint": otlp.endpoint, "samplingRatePerMillion": 1_000_000}}
    trusting.put_in_force({**usual, "propagators": ["b3", "b3multi", "baggage"]})
    try:
        entry = {"apiCall": {"method": "GET", "service": {"url": teams.url}, "jmesPath": "teams"}}
        enforcing("by-b3", entry, "{{ known }}")
        trace_id, document = f"{time.time_ns():032x}", pods.create("spoken")
        document["request"]["object"]["metadata"]["labels"] = {"team": "strangers"}
        told = {"b3": f"{trace_id}-00000000000000ab-1", "baggage": "tenant=a"}

        def passed_on() -> dict[str, str]:
            status, answer = reviewing.post(trusting, "/validate/fail", pods.encode(document), **told)
            assert (status, answer["response"]["allowed"]) == (200, False)
            found = [{name.lower(): value for name, value in each.items()} for each in teams.headers]
            return next((each for each in found if each.get("b3", "").startswith(trace_id)), {})

        headers = eventually(passed_on)
        assert (headers["baggage"], headers["x-b3-traceid"]) == ("tenant=a", trace_id)
        assert "traceparent" not in headers
        called = otlp.wait_for(lambda each: each.span_id == headers["x-b3-spanid"], 60)
        assert (called.name, called.trace_id) == ("HTTP GET", trace_id)
        review = otlp.wait_for(lambda each: each.kind == "server" and each.trace_id == trace_id, 60)
        assert review.parent_id == "00000000000000ab"
    finally:
        trusting.put_in_force(usual)


def test_a_service_at_a_forbidden_address_is_not_called(trusting, enforcing) -> None:
    """What is trusted is trusted by itself, not with its neighbours."""
    entry = {"apiCall": {"method": "GET", "service": {"url": "http://169.254.169.254/latest"}, "jmesPath": "teams"}}
    enforcing("by-metadata", entry, "{{ known }}")
    assert "may not call a link-local address" in trusting.create(pod("any"), "--dry-run=server").stderr


def test_a_global_entry_is_live(trusting, enforcing) -> None:
    """Made, changed and deleted while policies refer to it; its status says whether it has data."""
    entry = {
        "apiVersion": "kyverno.io/v2",
        "kind": "GlobalContextEntry",
        "metadata": {"name": "teams"},
        "spec": {
            "kubernetesResource": {"version": "v1", "resource": "configmaps", "namespace": "default"},
            "projections": [{"name": "names", "jmesPath": "[?metadata.labels.kind=='team'].metadata.name"}],
        },
    }
    trusting.apply(entry)
    trusting.kubectl("wait", "--for=condition=Ready", "globalcontextentry", "teams", "--timeout=60s")
    enforcing("by-entry", {"globalReference": {"name": "teams.names"}}, "{{ known }}")

    def denied(team):
        return trusting.create(pod("any", labels={"team": team}), "--dry-run=server").stderr

    assert "unknown team" in denied("bakery")
    trusting.kubectl("create", "configmap", "bakery")
    trusting.kubectl("label", "configmap", "bakery", "kind=team")
    eventually(lambda: denied("bakery") == "")
    entry["spec"]["projections"][0]["jmesPath"] = "[?metadata.labels.kind=='nothing'].metadata.name"
    trusting.apply(entry)
    eventually(lambda: "unknown team" in denied("bakery"))
    trusting.kubectl("delete", "globalcontextentry", "teams")
    eventually(lambda: "failed to fetch entry key=teams" in denied("bakery"))


def test_a_global_entry_of_what_is_not_served_says_so(trusting) -> None:
    """And one that cannot be read is refused with the field."""
    entry = {
        "apiVersion": "kyverno.io/v2",
        "kind": "GlobalContextEntry",
        "metadata": {"name": "unserved"},
        "spec": {"kubernetesResource": {"group": "unserved.example", "version": "v1", "resource": "things"}},
    }
    trusting.apply(entry)

    def found_out() -> dict[str, str] | None:
        told = trusting.conditions("globalcontextentry", "unserved").get("Ready", {})
        return told if "does not serve" in told.get("message", "") else None

    condition = eventually(found_out)
    assert (condition["status"], condition["reason"]) == ("False", "Failed")
    assert "does not serve unserved.example/v1/things" in condition["message"]
    entry["spec"]["projections"] = [{"name": "odd", "jmesPath": "items[?"}]
    refusal = trusting.kubectl("apply", "-f", "-", given=entry, check=False).stderr
    assert "spec.projections[0].jmesPath" in refusal
    trusting.kubectl("delete", "globalcontextentry", "unserved")


def test_an_exception_is_live(trusting, enforcing) -> None:
    """Made and removed between two requests."""
    enforcing("excepted", {"variable": {"value": ["shop"]}}, "{{ known }}")
    denied = trusting.create(pod("any"), "--dry-run=server").stderr
    assert "unknown team by excepted" in denied
    exception = {
        "apiVersion": "kyverno.io/v2",
        "kind": "PolicyException",
        "metadata": {"name": "any-pod", "namespace": "default"},
        "spec": {
            "exceptions": [{"policyName": "excepted", "ruleNames": ["excepted-rule"]}],
            "match": {"any": [{"resources": {"kinds": ["Pod"], "names": ["any"]}}]},
        },
    }
    trusting.apply(exception)
    eventually(lambda: trusting.create(pod("any"), "--dry-run=server").stderr == "")
    assert "unknown team" in trusting.create(pod("other"), "--dry-run=server").stderr
    trusting.kubectl("delete", "policyexception", "any-pod", "-n", "default")
    eventually(lambda: "unknown team" in trusting.create(pod("any"), "--dry-run=server").stderr)


def test_an_exception_that_cannot_be_read_is_refused_with_the_field(trusting) -> None:
    """Nobody believes in an exception that excepts nothing."""
    exception = {
        "apiVersion": "kyverno.io/v2",
        "kind": "PolicyException",
        "metadata": {"name": "odd", "namespace": "default"},
        "spec": {
            "exceptions": [{"policyName": "p", "ruleNames": ["r"]}],
            "match": {"any": [{"resources": {"kinds": ["Pod"], "nmaes": ["any"]}}]},
        },
    }
    refusal = trusting.create(exception).stderr
    assert "spec.match.any[0].resources.nmaes" in refusal
