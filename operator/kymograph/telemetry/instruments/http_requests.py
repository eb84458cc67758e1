"""`http_requests_total`, `http_requests_duration_seconds`: what the webhook server is asked, a review or not.

Kyverno measures the duration before it handles the request, which makes it nearly nothing; this is the whole handling.
Its labels say nothing of the answer: `http_server_request_duration_seconds` does, as OpenTelemetry names it.
"""

from kymograph.telemetry import cells

ABOUT = cells.Description(
    name="http_requests_total",
    description="can be used to track the number of http requests",
    unit="{request}",
    labels=("http_method", "http_url"),
    kyverno=True,
)

SERVED = cells.Description(
    name="http_server_request_duration_seconds",
    description="How long requests to the webhook server took, by how they were answered.",
    unit="s",
    labels=("http_request_method", "http_route", "http_response_status_code"),
)

DURATION = cells.Description(
    name="http_requests_duration_seconds",
    description="can be used to track the latencies (in seconds) associated with the entire individual http request.",
    unit="s",
    labels=("http_method", "http_url"),
    kyverno=True,
)
