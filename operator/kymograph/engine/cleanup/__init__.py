"""Cleanup policies (`kyverno.io`, v2 and v2beta1): which objects are deleted by the clock.

A policy is compiled once; its `schedule` says when it runs next, and of every object of the kinds that it selects is
decided then.
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
