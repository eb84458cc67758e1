"""What the command line makes of telemetry settings: those of Kubernetes' own components, and of Kyverno's ours."""
