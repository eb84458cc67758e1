"""verifyImages rules are live: digests from a registry, before others judge the object, under the shipped role."""

import hashlib
import json
import pathlib
import threading
import urllib.request
from http import server

import pytest

from kymograph.localcluster import cluster as localcluster
from kymograph.localcluster import installation, options
from support import trees
from support.installed import Installed, eventually, install, pod

TREE = pathlib.Path(__file__).parent / "trees" / "verify-images.tree"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Registry:
    """A registry of images on loopback, which holds `team/app:v1`; anybody may pull, without TLS."""

    def __init__(self) -> None:
        configuration = b"{}"
        described = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(configuration)}
        document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": []}
        content = json.dumps(document).encode()
        held = {
            "/v2/team/app/manifests/v1": (content, MANIFEST),
            f"/v2/team/app/blobs/{digest(configuration)}": (configuration, "application/octet-stream"),
        }

        class Handler(server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body, media_type = held.get(self.path, (b"{}", "application/json"))
                self.send_response(200 if self.path in held else 404)
                self.send_header("Content-Type", media_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.digest = digest(content)
        self.server = server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.image = f"127.0.0.1:{self.server.server_port}/team/app"


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def registry():
    made = Registry()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@pytest.fixture(scope="module")
def trusting(otlp):
    """The operator in a cluster of its own, which may call loopback."""
    with localcluster.LocalCluster(options.Options(tracing=options.Tracing(endpoint=otlp.endpoint))) as cluster:
        install(cluster)
        made = Installed(cluster, installation.Operator(cluster, flags=["--service-call-trusted=127.0.0.1"]))
        made.configure({"traces": {"endpoint": otlp.endpoint, "samplingRatePerMillion": 1_000_000}})
        with made.operator:
            yield made


@pytest.fixture
def enforce(trusting):
    """Have policies enforced for the length of the test."""
    yield trusting.enforce
    trusting.forget_policies()


def verifying(name, *references, **entry):
    """A policy with one rule about the images of Pods."""
    rule = {
        "name": f"{name}-rule",
        "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
        "verifyImages": [{"imageReferences": list(references), "failureAction": "Enforce", **entry}],
    }
    return {
        "apiVersion": "kyverno.io/v1",
        "kind": "ClusterPolicy",
        "metadata": {"name": name},
        "spec": {"rules": [rule]},
    }


def running(name, image):
    document = pod(name)
    document["spec"]["containers"][0]["image"] = image
    return document


def stored(installed, document):
    """The object as the API server would store it."""
    ran = installed.create(document, "--dry-run=server", "-o", "json")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_tags_become_digests_before_others_judge_them(trusting, registry, enforce) -> None:
    """Of Pods and, rewritten, of Deployments; what demands a digest then sees one."""
    insecure = {"imageRegistryCredentials": {"allowInsecureRegistry": True}}
    enforce(verifying("pinned", f"{registry.image}:*", required=False, **insecure))
    enforce(verifying("demanded", "*", required=False, mutateDigest=False))
    pinned = f"{registry.image}:v1@{registry.digest}"
    made = stored(trusting, running("tagged", f"{registry.image}:v1"))
    assert made["spec"]["containers"][0]["image"] == pinned
    template = {"metadata": {"labels": {"app": "x"}}, "spec": running("x", f"{registry.image}:v1")["spec"]}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "tagged", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "x"}}, "template": template},
    }
    made = stored(trusting, deployment)
    assert made["spec"]["template"]["spec"]["containers"][0]["image"] == pinned
    refused = trusting.create(running("elsewhere", "registry.example/app:1"))
    assert "missing digest for registry.example/app:1" in refused.stderr
    unknown = trusting.create(running("unknown", f"{registry.image}:v2"))
    assert f"failed to update digest: failed to fetch image reference: {registry.image}:v2" in unknown.stderr

    def counted() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{trusting.metrics_port}/metrics", timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        results = [line for line in lines if line.startswith("policy_results_total") and 'imageVerify"' in line]
        return any('rule_name="pinned-rule"' in line and 'rule_result="pass"' in line for line in results) and any(
            'rule_name="demanded-rule"' in line and 'rule_result="fail"' in line for line in results
        )

    eventually(counted)


def test_the_lookup_of_an_image_is_in_the_trace_of_its_review(trusting, registry, enforce, otlp) -> None:
    """See `trees/verify-images.tree`; what is named by digest is asked for once, so that it may be missing."""
    insecure = {"imageRegistryCredentials": {"allowInsecureRegistry": True}}
    enforce(verifying("traced-image", f"{registry.image}:*", required=False, **insecure))
    stored(trusting, running("traced-image", f"{registry.image}:v1"))

    def arrived() -> bool:
        reviews = [
            span
            for span in otlp.received()
            if span.name == "admission mutate CREATE Pod"
            and span.attributes["admission.request.name"] == "traced-image"
        ]
        drawn = [
            trees.outline([span for span in otlp.trace(each.trace_id) if span.name != "REGISTRY blobs"], each)
            for each in reviews
        ]
        return any(trees.agree(TREE, each) for each in drawn)

    eventually(arrived)


def test_what_is_required_must_have_been_verified(trusting, enforce) -> None:
    """Without a rule that verifies, nothing is."""
    enforce(verifying("required", "registry.example/*", mutateDigest=False, verifyDigest=False))
    refused = trusting.create(running("unverified", "registry.example/app:1"))
    assert "unverified image registry.example/app:1" in refused.stderr
    assert stored(trusting, running("other", "other.example/app:1"))


def test_what_is_only_audited_is_reported(trusting, enforce) -> None:
    """As a failure of the rule, and the rule is counted in the policy's status."""
    enforce(verifying("audited", "*", required=False, mutateDigest=False, failureAction="Audit"))
    trusting.apply(running("audited", "registry.example/app:1"))

    def reported() -> bool:
        listed = trusting.get("policyreports", "-n", "default")["items"]
        results = [each for report in listed for each in report.get("results", [])]
        return any(
            (each["rule"], each["result"], each["message"])
            == ("audited-rule", "fail", "missing digest for registry.example/app:1")
            for each in results
        )

    eventually(reported)
    status = trusting.get("clusterpolicy", "audited")["status"]
    assert status["rulecount"] == {"validate": 0, "mutate": 0, "generate": 0, "verifyimages": 1}
    trusting.kubectl("delete", "pod", "audited", "--now")
