"""Certificates with their private keys: issued, and shown in handshakes.

What the operator serves with, what the local cluster is made of and what clients log in with is issued and loaded in
one way. When a certificate is due, where it is kept and who trusts it is for others to say.
"""
