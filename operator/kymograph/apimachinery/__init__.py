"""Small pieces of Kubernetes that every room needs: quantities, durations, wildcards, selectors. No I/O."""
