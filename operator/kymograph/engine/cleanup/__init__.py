"""Cleanup policies (`kyverno.io`, v2 and v2beta1): which objects are deleted by the clock.

    policy = cleanup.compile(document)
    policy.schedule.next(now)
    cleanup.decide(policy, resource, budget)  # of every object of the kinds it selects
"""

from kymograph.engine.cleanup.compiling import compile  # noqa: A004 - the engine's word
from kymograph.engine.cleanup.deciding import DELETE, ERROR, EXCLUDED, UNMATCHED, UNMET, Decision, decide
from kymograph.engine.cleanup.policy import CleanupPolicy

__all__ = [
    "DELETE",
    "ERROR",
    "EXCLUDED",
    "UNMATCHED",
    "UNMET",
    "CleanupPolicy",
    "Decision",
    "compile",
    "decide",
]
