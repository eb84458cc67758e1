"""Registries of images, as far as policies look into them: manifests and configurations, nothing is pulled."""
