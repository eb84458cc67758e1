"""Policies applied to objects without a cluster: what `kymograph test` and `kymograph apply` have in common.

Reads the files that stand in for a cluster (values, user info, mocks) and asks the engine, in the order in which
Kyverno's command line does. Nothing here opens a socket.
"""
