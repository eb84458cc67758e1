"""Clients of the outside world. Each opens its own client span and injects the trace context."""
