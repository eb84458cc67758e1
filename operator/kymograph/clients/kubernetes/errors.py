"""Errors of the Kubernetes client, by who has to react. Errors of libraries end here.

KubernetesError
  x ConnectionInvalid     whoever started the operator: the kubeconfig or the service account cannot be used
  x Unreachable           nobody at first: no answer (refused, reset, timed out); worth another try
  x PathInvalid           whoever wrote the path: it is none, or means another one than it seems to
  x AnswerTooLarge        whoever asks: for less, or with a higher limit
  x AnswerInvalid         whoever runs what answered: no API server would (a proxy between, a login page)
  x StatusError           the API server answered with an error status
    + NotFound            404
    + Conflict            409: somebody else was faster, or the object exists
    + Forbidden           401, 403: whoever grants the operator's role
    + Expired             410: a resourceVersion is too old; list again, or go on where it says how
    + Throttled           429: nobody; the API server has no time, or is just starting; worth another try
"""

from typing import Any


class KubernetesError(Exception):
    """The root of what the client raises."""


class ConnectionInvalid(KubernetesError):
    """The operator cannot know how to reach or to log in to the API server."""


class Unreachable(KubernetesError):
    """The API server gave no answer."""


class PathInvalid(KubernetesError):
    """The path cannot be called as it is written."""


class AnswerTooLarge(KubernetesError):
    """What came back is larger than whoever asked can take."""


class AnswerInvalid(KubernetesError):
    """What came back is not what the API promises."""


class StatusError(KubernetesError):
    """The API server answered with an error status.

    Attributes:
        code: The HTTP status code.
        reason: The reason of the metav1.Status, such as `AlreadyExists`, or an empty string.
        message: The message of the metav1.Status.
    """

    def __init__(self, code: int, reason: str, message: str) -> None:
        status = f"{code} {reason}" if reason else str(code)
        super().__init__(f"{status}: {message}" if message else status)
        self.code = code
        self.reason = reason
        self.message = message

    @property
    def bare(self) -> "StatusError":
        """The same without the message: what refuses a call may quote in it the object that the call is about."""
        return type(self)(self.code, self.reason, "")


class NotFound(StatusError):
    """The object or the kind does not exist."""


class Conflict(StatusError):
    """The object exists already, has changed meanwhile, or a field belongs to another manager."""


class Forbidden(StatusError):
    """The operator's role does not grant this call."""


class Expired(StatusError):
    """The resourceVersion or continue token is too old.

    Attributes:
        resume: The token that the API server offers where a list was broken off: the list goes on after the last object
            that was given, in the state of today. Empty where it offers none.
    """

    def __init__(self, code: int, reason: str, message: str, resume: str = "") -> None:
        super().__init__(code, reason, message)
        self.resume = resume


class Throttled(StatusError):
    """The API server has no time for this call now."""


_BY_CODE: dict[int, type[StatusError]] = {
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Expired,
    429: Throttled,
}


def from_status(code: int, document: Any) -> StatusError:
    """The error for a metav1.Status, or for a body that is none."""
    reason, message, resume = "", "no message", ""
    if isinstance(document, dict):
        reason = str(document.get("reason") or "")
        message = str(document.get("message") or message)
        metadata = document.get("metadata")
        resume = str(metadata.get("continue") or "") if isinstance(metadata, dict) else ""
    kind = _BY_CODE.get(code, StatusError)
    return Expired(code, reason, message, resume) if kind is Expired else kind(code, reason, message)
