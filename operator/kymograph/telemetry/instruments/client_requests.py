"""Calls to other processes: how long they took, how they ended, and which were sent away because there were too many.

Kyverno counts its calls to the API server, and says neither how they ended nor how long they took.
"""

from kymograph.telemetry import cells, views
from kymograph.telemetry.instruments import labels

KUBERNETES = cells.Description(
    name="kubernetes_client_requests_total",
    description="Calls to the API server, by what became of them.",
    unit="{request}",
    labels=labels.KubernetesCall._fields,
)

KUBERNETES_DURATION = cells.Description(
    name="kubernetes_client_request_duration_seconds",
    description="How long calls to the API server took; of a watch, until its events began.",
    unit="s",
    labels=labels.KubernetesCall._fields,
    optional=frozenset(labels.KubernetesCall._fields) - {"operation"},
)

THROTTLED = cells.Description(
    name="kubernetes_client_throttled_total",
    description="Calls that the API server sent away because there were too many (429).",
    unit="{request}",
    labels=("operation", "resource_kind"),
)

QUERIES = cells.Description(
    name="client_queries_total",
    description="can be used to track the number of client queries sent from Kyverno to the API-server",
    unit="{request}",
    labels=labels.Query._fields,
    kyverno=True,
    optional=views.BY_NAMESPACE,
)

SERVICES = cells.Description(
    name="http_client_request_duration_seconds",
    description="How long requests took to services that policies call.",
    unit="s",
    labels=labels.HTTPCall._fields,
)

REGISTRIES = cells.Description(
    name="registry_client_request_duration_seconds",
    description="How long requests to registries of images took.",
    unit="s",
    labels=labels.HTTPCall._fields,
)

REGISTRY_CACHE = cells.Description(
    name="registry_cache_lookups_total",
    description="Manifests and configurations of images that were asked for by digest, by whether they were held.",
    unit="{lookup}",
    labels=("result",),
)

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds in seconds."""
