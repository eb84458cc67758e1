"""Kubernetes Events about what policies did, with Kyverno's reasons, actions and sources."""
