"""The ConfigMap `kyverno`: what an installation says, live, of whom and what policies are not for, and of webhooks."""
