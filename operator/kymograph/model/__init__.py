"""Shapes of the resources and wire formats Kymograph reads and writes; the CRDs in `crds/` are generated from here."""
