"""`kymograph demo`: a real control plane on loopback, the operator against it, and the story of one refusal.

Everything is the real thing (API server, RBAC, TLS, audit) except the node, which is simulated. Nothing is left behind.
"""

import argparse
import contextlib
import pathlib
import signal
import sys
import threading
import time

import orjson

from kymograph.localcluster import cluster, errors, installation, options
from kymograph.model import tracingconfiguration
from kymograph.objecttrace import spans, tree
from kymograph.objecttrace.sources import otlp

ROOT = pathlib.Path(__file__).parents[3]
"""The checkout: the demo installs what a user would install, from the same files."""

TRACE_TIMEOUT = 20.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--once", action="store_true", help="end after the story instead of waiting for Ctrl-C")


def run(options_: argparse.Namespace) -> int:
    """Run the demo; returns the exit status."""
    if not (ROOT / "manifests" / "kustomization.yaml").exists():
        sys.stderr.write("kymograph: the demo installs from a checkout: clone the repository and run it there\n")
        return 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with contextlib.ExitStack() as stack:
            _Demo(stack, once=options_.once).play()
    except (errors.LocalClusterError, TimeoutError) as error:
        sys.stderr.write(f"kymograph: {error}\n")
        return 1
    except KeyboardInterrupt:
        _say("\nStopped; nothing is left behind.")
    return 0


class _Demo:
    """One performance."""

    def __init__(self, stack: contextlib.ExitStack, *, once: bool) -> None:
        self._stack = stack
        self._once = once

    def play(self) -> None:
        receiver = self._stack.enter_context(otlp.Receiver())
        _say("Starting a Kubernetes control plane on this machine (the first time it is built, for some minutes) ...")
        began = time.monotonic()
        local = self._stack.enter_context(
            cluster.LocalCluster(options.Options(tracing=options.Tracing(endpoint=receiver.endpoint)))
        )
        _say(f"  it stands after {time.monotonic() - began:.1f} s")
        metrics_port = self._install(local, receiver)
        denial = self._pods(local)
        trace = self._trace(receiver)
        _say(f"\n$ kubectl apply -f examples/bad-pod.yaml\n{denial}")
        _say("\nThe story of that refusal, from the API server to each rule:\n")
        _say(tree.render(trace, events=True, colour=sys.stdout.isatty()))
        _say(f"Metrics:  http://127.0.0.1:{metrics_port}/metrics")
        _say(f"Cluster:  export KUBECONFIG={local.admin_kubeconfig}")
        _say("          kubectl get clusterpolicies; kubectl edit tracingconfiguration default")
        if not self._once:
            _say("\nCtrl-C ends the demo and removes all of it.")
            threading.Event().wait()

    def _install(self, local: cluster.LocalCluster, receiver: otlp.Receiver) -> int:
        _say("Installing the operator: kubectl apply -k manifests")
        installation.run_kubectl(local, "apply", "-k", "manifests", directory=ROOT)
        metrics_port = installation.free_port()
        spec = {
            "traces": {"endpoint": receiver.endpoint, "samplingRatePerMillion": 1_000_000},
            "resourceAttributes": {"k8s.cluster.name": "demo"},
            "metrics": {"prometheus": {"enabled": True, "port": metrics_port}},
        }
        installation.run_kubectl(
            local, "apply", "-f", "-", given=orjson.dumps({**tracingconfiguration.default(), "spec": spec}).decode()
        )
        began = time.monotonic()
        self._stack.enter_context(installation.Operator(local))
        _say(f"  the operator is ready after {time.monotonic() - began:.1f} s, as the shipped ServiceAccount")
        _say("Applying policies: kubectl apply -f examples/policies")
        installation.run_kubectl(local, "apply", "-f", "examples/policies", directory=ROOT)
        installation.run_kubectl(local, "wait", "--for=condition=Ready", "clusterpolicy", "--all", "--timeout=30s")
        return metrics_port

    def _pods(self, local: cluster.LocalCluster) -> str:
        """Create a good Pod and a bad one; the refusal as its user sees it."""
        deadline = time.monotonic() + TRACE_TIMEOUT
        while True:
            refused = installation.run_kubectl(
                local, "apply", "-f", "examples/bad-pod.yaml", check=False, directory=ROOT
            )
            if refused.returncode != 0:
                break
            installation.run_kubectl(local, "delete", "-f", "examples/bad-pod.yaml", "--now", directory=ROOT)
            if time.monotonic() > deadline:
                raise TimeoutError("the policies are ready, but the bad Pod is let in")
        good = installation.run_kubectl(local, "apply", "-f", "examples/good-pod.yaml", directory=ROOT)
        _say(f"\n$ kubectl apply -f examples/good-pod.yaml\n{good.stdout.strip()}")
        return refused.stderr.strip()

    def _trace(self, receiver: otlp.Receiver) -> list[spans.Span]:
        """The trace of the refusal, once the API server's own root span has come too."""

        def refusal(span: spans.Span) -> bool:
            return span.kind == "server" and span.attributes.get("admission.response.allowed") is False

        found = receiver.wait_for(refusal, TRACE_TIMEOUT)
        rooted = receiver.wait_for_trace(
            found.trace_id, lambda trace: any(not span.parent_id for span in trace), TRACE_TIMEOUT
        )
        return list(rooted)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
