"""What `kymograph reports` works with: reading how far reports are from a cluster."""
