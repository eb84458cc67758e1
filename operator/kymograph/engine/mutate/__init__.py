"""Rules that change objects.

    mutated = mutate.apply(policies, request, facts, budget, clock)
    jsonpatch.make(request["object"], mutated.resource)

`existing` is for rules with targets, which change other objects than the one of the request.
"""

from kymograph.engine.mutate.application import Mutated, Mutation, apply

__all__ = ["Mutated", "Mutation", "apply"]
