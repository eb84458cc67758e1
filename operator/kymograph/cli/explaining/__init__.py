"""`kymograph explain`: a policy in words, without a cluster."""
