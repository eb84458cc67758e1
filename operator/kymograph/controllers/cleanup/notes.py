"""What Events say of deletions, in Kyverno's words (`pkg/event`, `NewCleanupPolicyEvent`)."""

from kymograph.controllers.cleanup import selection
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
