"""`--protectManagedResources`: what Kyverno manages is touched by the operator and nobody else."""

import json
import time

import pytest

from fakes import traced
from kymograph.controllers import managed, policies
from kymograph.controllers.admission import review, reviewing, server
from kymograph.controllers.admission.metrics import ReviewMetrics

CONTROLLER = "system:serviceaccount:kube-system:namespace-controller"
OURS = "system:serviceaccount:kymograph:kymograph"
KYVERNO = {"app.kubernetes.io/managed-by": "kyverno"}


def touching(user="jane", operation="UPDATE", new=KYVERNO, old=KYVERNO):
    """A request on a ConfigMap with these labels after and before it."""
    document, before = (
        None if labels is None else {"metadata": {"name": "clone", "labels": labels}} for labels in (new, old)
    )
    return {
        "uid": "u-1",
        "operation": operation,
        "kind": {"group": "", "version": "v1", "kind": "ConfigMap"},
        "resource": {"group": "", "version": "v1", "resource": "configmaps"},
        "namespace": "shop",
        "name": "clone",
        "userInfo": {"username": user, "groups": []},
        "object": document,
        "oldObject": before,
    }


@pytest.mark.parametrize(
    ("request_", "refused"),
    [
        (touching(), True),
        (touching(operation="CREATE", old=None), True),
        (touching(operation="DELETE", new=None), True),
        (touching(new={}), True),
        (touching(old={}), True),
        (touching(new={"app.kubernetes.io/managed-by": "helm"}, old={}), False),
        (touching(new={}, old=None, operation="CREATE"), False),
        (touching(OURS), False),
        (touching("system:serviceaccount:kymograph:another"), False),
        (touching("system:serviceaccount:kymograph-dev:kymograph"), True),
        (touching("admin@kind"), False),
        (touching(CONTROLLER, operation="DELETE", new=None), False),
        (touching(CONTROLLER), True),
        (touching(""), True),
    ],
)
def test_who_may_touch_what_kyverno_manages(request_, refused) -> None:
    """Service accounts of the operator's namespace, its own account, and a namespace that goes with all it holds."""
    assert managed.Protection("kymograph", "admin@kind").refuses(request_) is refused


@pytest.mark.parametrize("protected", [True, False])
async def test_the_refusal_is_kyvernos(protected) -> None:
    """By every webhook, in its words, also where no policy is about the object; not unless it is asked for."""
    async with traced.kept() as kept:
        store = policies.PolicyStore()
        reviews = review.Reviews(
            store,
            None,
            reviewing.Owner(kept.telemetry, ReviewMetrics(kept.telemetry.instruments, store), time.monotonic_ns),
            protection=managed.Protection("kymograph") if protected else None,
        )
        document = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": touching()}
        http = server.Request("/", json.dumps(document).encode(), time.monotonic_ns() + 10**10, b"application/json")
        for judge in (reviews.validate, reviews.mutate):
            response = json.loads(judge(http, "Fail"))["response"]
            assert response["allowed"] is not protected
            if protected:
                assert response["status"]["message"] == "A kyverno managed resource can only be modified by kyverno"
