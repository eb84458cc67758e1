"""A real Kubernetes control plane on loopback, for the demo and the tests."""
