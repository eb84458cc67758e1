"""Errors of background work, by what becomes of the UpdateRequest.

BackgroundError
  x NotYet       it is looked at again soon: what asked for the work may still be stored; in the end it is a `Skip`
    + NameTaken  somebody else's name: in the end it is `Failed`, as in Kyverno
  x Needless     it ends as `Skip`: there is nothing to do, and will not be
  x Failing      it is tried again, ever more rarely, and ends as `Failed`
    + Forbidden  whoever grants the operator's roles has to act
"""

from kymograph.clients.kubernetes import errors as kubernetes_errors

UNANSWERED = (kubernetes_errors.Unreachable, kubernetes_errors.Throttled)
"""What says nothing about the work: the API server is away, or has no time. It is waited for, at no cost in tries."""


class BackgroundError(Exception):
    """The root of what background work raises."""


class NotYet(BackgroundError):
    """What asked for the work is not in the cluster (yet)."""


class NameTaken(NotYet):
    """The object that was to be created is not there, and another one has its name."""


class Needless(BackgroundError):
    """There is nothing to do."""


class Failing(BackgroundError):
    """The work could not be done this time."""


class Forbidden(Failing):
    """The operator's roles do not grant the work."""
