"""What Events say of deletions: of those by policies in Kyverno's words (`pkg/event`, `NewCleanupPolicyEvent`).

Of labels Kyverno tells nobody but its log. Who wrote one looks at the object, so that is where an Event says what is
wrong.
"""

from kymograph.controllers.cleanup import deletions, selection, ttl
from kymograph.controllers.events import notes
from kymograph.engine import cleanup

_API_VERSION = "kyverno.io/v2"


def of_deletion(policy: cleanup.CleanupPolicy, candidate: selection.Candidate, problem: str) -> notes.Note:
    """What there is to say of an object that a policy deleted, or could not delete.

    Args:
        policy: The policy.
        candidate: The object.
        problem: Why it could not be deleted; empty where it was.
    """
    uid = policy.document["metadata"].get("uid") or ""
    regarding = notes.Reference(_API_VERSION, policy.kind, policy.namespace, policy.name, uid)
    related = notes.Reference(
        candidate.resource.api_version, candidate.resource.kind, candidate.namespace, candidate.name
    )
    source = notes.Source.CLEANUP
    if problem:
        text = f"failed to clean up the target resource {candidate}: {problem}"
        return notes.Note(regarding, related, notes.Reason.POLICY_ERROR, notes.Action.NONE, source, text)
    text = f"successfully cleaned up the target resource {candidate}"
    return notes.Note(regarding, related, notes.Reason.POLICY_APPLIED, notes.Action.CLEANED_UP, source, text)


def of_label(target: deletions.Target, labelled: ttl.Labelled, problem: str) -> notes.Note:
    """What there is to say of an object whose label is not followed, or that cannot be deleted.

    Args:
        target: The object.
        labelled: What it asks for.
        problem: Why it stays.
    """
    resource = target.resource
    regarding = notes.Reference(resource.api_version, resource.kind, target.namespace, target.name, labelled.wish.uid)
    text = f"the label {ttl.LABEL}={labelled.wish.ttl} is not followed: {problem}"
    return notes.Note(regarding, None, notes.Reason.POLICY_ERROR, notes.Action.NONE, notes.Source.CLEANUP, text)
