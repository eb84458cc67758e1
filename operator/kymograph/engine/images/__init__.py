"""Rules about the images of an object: by digest, and verified. Pure; registries are asked by whoever has the network.

Signatures are not checked here, or anywhere yet: a rule with attestors is refused (`body.compile`), or, where a command
line asks for that, ends in an error as soon as it comes to a signature.
"""
