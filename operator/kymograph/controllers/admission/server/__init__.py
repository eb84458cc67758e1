"""The HTTPS server of the admission webhooks: TLS, HTTP/1.1, limits, deadlines, and nothing of policies.

A general web server costs more CPU per request than deciding about the object does, so this one does only what an API
server asks of a webhook. What a decision is, and how a review is read, is its handlers' business: they get bytes and
give bytes. It never answers in their place with anything that could be taken for a verdict: what it cannot hand to a
handler is refused with an HTTP status that is not 200, so that the webhook's `failurePolicy` decides.

    tls = server.TLS()
    tls.load(certificate, key)
    https = server.Server({"/validate": validate}, tls, on_refused=counter)
    await https.start("::", 9443)
    ...
    await https.drain(20)
"""

from kymograph.controllers.admission.server.limits import Limits
from kymograph.controllers.admission.server.listener import Server
from kymograph.controllers.admission.server.messages import Answer, Handler, Request, Response
from kymograph.controllers.admission.server.refusals import DEADLINE, FAILED, REASONS
from kymograph.controllers.admission.server.tls import TLS

__all__ = ["DEADLINE", "FAILED", "REASONS", "TLS", "Answer", "Handler", "Limits", "Request", "Response", "Server"]
