"""The status of a TracingConfiguration: what each replica says of itself, and what that comes to.

A replica applies its own entry of `replicas` and nobody else's; whoever leads writes all the rest.
"""

from kymograph.model import crd

MOST_REPLICAS = 100

_COUNT: crd.Schema = {"type": "integer", "format": "int64", "minimum": 0}
_TIME: crd.Schema = {"type": "string", "format": "date-time"}


def _exporters(description: str, **more: crd.Schema) -> crd.Schema:
    return crd.listing(
        description,
        crd.record(
            "One exporter.",
            {
                "signal": crd.text("traces, metrics or logs."),
                "name": {
                    **crd.text("The name of an additional destination of traces; empty for the first."),
                    "default": "",
                },
                "endpoint": crd.text("Where it sends to.", max_length=260),
                "lastSuccess": _TIME,
                "sent": _COUNT,
                "dropped": _COUNT,
                "lastError": crd.text("The last error, if the last attempt failed.", max_length=1024),
                **more,
            },
            required=["signal", "endpoint"],
        ),
        max_items=8,
        **{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["signal", "name"]},
    )


STATUS = crd.record(
    "What the operator made of the configuration.",
    {
        "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
        "conditions": crd.conditions("Accepted, Exporting"),
        "signals": crd.text("What is exported, and how that goes: traces, metrics (failing), logs (nothing sent)."),
        "inForce": crd.text("How many replicas have it in force, of how many: 2/2.", max_length=16),
        "exporters": _exporters(
            "The state of each exporter: that of all replicas, added up.",
            failing={**_COUNT, "description": "Of how many replicas it fails."},
        ),
        "replicas": crd.listing(
            "What each replica says of itself.",
            crd.record(
                "One replica.",
                {
                    "name": crd.text("Its Pod, or else its host and port of health.", minLength=1),
                    "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
                    "reportedAt": {**_TIME, "description": "When it said so, by its own clock."},
                    "conditions": crd.conditions("Accepted, Exporting"),
                    "exporters": _exporters("The state of each of its exporters."),
                },
                required=["name"],
            ),
            max_items=MOST_REPLICAS,
            **{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    },
)

COLUMNS = (
    crd.Column("Accepted", "string", '.status.conditions[?(@.type == "Accepted")].status'),
    crd.Column("Exporting", "string", '.status.conditions[?(@.type == "Exporting")].status'),
    crd.Column("Signals", "string", ".status.signals"),
    crd.Column("Replicas", "string", ".status.inForce"),
    crd.Column("Sent", "integer", '.status.exporters[?(@.signal == "traces")].sent'),
    crd.Column("Age", "date", ".metadata.creationTimestamp"),
    crd.Column("Endpoint", "string", ".spec.traces.endpoint", priority=1),
    crd.Column("Message", "string", '.status.conditions[?(@.type == "Exporting")].message', priority=1),
)
