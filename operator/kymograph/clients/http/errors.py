"""Errors of calls to services, by who has to react. Errors of libraries end here.

CallError
  x CallInvalid        the policy's author: the URL, a header or the certificates cannot be used
  x AddressRefused     whoever runs the operator, if the policy is right: the address is one that policies may not call
  x Unreachable        nobody at first: no connection, no answer, or none in time
  x AnswerInvalid      whoever runs the service: too large, encoded, no JSON, redirected once too often
  x StatusError        the same: the service answered with an error status
"""


class CallError(Exception):
    """The root of what calls to services raise."""


class CallInvalid(CallError):
    """The call cannot be made as it is written."""


class AddressRefused(CallError):
    """The host is, or resolves to, an address that policies may not call."""


class Unreachable(CallError):
    """The service gave no answer."""


class AnswerInvalid(CallError):
    """What came back cannot be used."""


class StatusError(CallError):
    """The service answered with a status other than 2xx.

    Attributes:
        code: The HTTP status code.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
