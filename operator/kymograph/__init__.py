"""Kymograph: enforces Kyverno's policies in a Kubernetes cluster and draws every decision as a trace."""
