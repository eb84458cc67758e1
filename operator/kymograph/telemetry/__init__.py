"""Traces and metrics of the process: live providers, the recorder of the hot path, metric cells."""

import os

# The SDK reads this one when it is imported, and fails by what is no number; it bounds nothing here (`providers`).
os.environ.pop("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", None)
