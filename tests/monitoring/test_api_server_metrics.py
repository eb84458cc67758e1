"""What `KymographWebhookFailing` goes by is what a real API server counts when it cannot call a webhook."""

import itertools
import json
import re

import pytest
from prometheus_client import parser

from support import monitoring, promql, waiting


@pytest.fixture
def unreachable(kubectl, namespace):
    """Webhooks of both failure policies, called as the operator's are, where nobody listens."""
    name = f"{namespace}-unreachable"
    webhooks = [
        {
            "name": f"{policy.lower()}.validate.kymograph.dev",
            "failurePolicy": policy,
            "clientConfig": {"url": "https://127.0.0.1:1/"},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["secrets"]}],
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
        }
        for policy in ("Ignore", "Fail")
    ]
    document = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": webhooks,
    }
    kubectl("create", "-f", "-", input=json.dumps(document))
    yield
    kubectl("delete", "validatingwebhookconfiguration", name)


def counted(kubectl):
    """Of the metrics that the alert selects, the names of webhooks, and the labels."""
    families = parser.text_string_to_metric_families(kubectl("get", "--raw", "/metrics").stdout)
    return [
        (sample.name.removesuffix("_total"), sample.labels)  # which the parser adds to counters without
        for family in families
        for sample in family.samples
        if sample.name.startswith("apiserver_admission_webhook_") and sample.value > 0
    ]


def test_an_api_server_counts_webhooks_that_it_cannot_call(kubectl, namespace, unreachable, eventually_refused) -> None:
    """Under `Fail` and under `Ignore`, with the labels that the alert looks at and groups by."""
    eventually_refused()
    (alert,) = [each for each in monitoring.of_alerts() if each.where.endswith("KymographWebhookFailing")]
    seen = counted(kubectl)
    for selector in promql.selectors(alert.promql):
        pattern = re.search(r'name=~"([^"]+)"', selector.text)[1]
        labels = [labels for name, labels in seen if name == selector.metric]
        found = [each for each in labels if re.fullmatch(pattern, each["name"])]
        assert any(each.get("error_type") != "no_error" for each in found), (selector.metric, labels)
        assert all(selector.labels | promql.groupings(alert.promql) <= set(each) for each in found)


@pytest.fixture
def eventually_refused(kubectl, namespace):
    """Creates Secrets until one is refused: the API server learns of webhooks a moment later."""
    numbers = itertools.count()

    def refused() -> bool:
        created = kubectl("-n", namespace, "create", "secret", "generic", f"try-{next(numbers)}", check=False)
        return "failed calling webhook" in created.stderr

    return lambda: waiting.until("the API server calls the webhook", refused)
