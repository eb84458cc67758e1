"""Kymograph: enforces Kyverno's policies in a Kubernetes cluster and draws every decision as a trace."""

__version__ = "0.1.0"
