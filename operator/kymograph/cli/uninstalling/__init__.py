"""What `kymograph uninstall` takes out of a cluster."""
