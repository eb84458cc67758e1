"""Puts the admission controller together: everything that a review needs; served once it is there."""

import asyncio
import logging
import time

from kymograph.controllers import managed
from kymograph.controllers.admission import (
    decisions,
    facts,
    filtering,
    handlers,
    httpmetrics,
    matchconditions,
    observing,
    privileges,
    registration,
    review,
    reviewing,
    server,
    updaterequestroom,
    updaterequests,
)
from kymograph.controllers.admission.metrics import ReviewMetrics
from kymograph.controllers.cleanup import collections, ttl
from kymograph.model import cleanuppolicy, exception, globalcontext
from kymograph.runtime import (
    announcing,
    errors,
    outside,
    parts,
    webhookcertificate,
)

logger = logging.getLogger(__name__)


async def start(shared: parts.Parts, answers: facts.Facts) -> server.Server:
    """Put together what a review needs, and have it served once it is there.

    Args:
        shared: What the controllers of the process share.
        answers: Answers the questions of rules.

    Raises:
        CertificateError: The Secret with the certificates cannot be used.
        KubernetesError: The API server cannot be used.
    """
    client, telemetry, store = shared.client, shared.telemetry, shared.store
    announced = announcing.Announcing(
        client,
        shared.untraced,
        store,
        shared.catalogues,
        telemetry,
        shared.configured,
        shared.namespace,
        shared.identity,
        shared.compilations.take,
        parts.now,
    )
    registered, reached = announced.registration, announced.reachability
    shared.on_kinds_changed.append(registered.kinds_changed)
    shared.covers = registered.covers
    telemetry.instruments.webhook_configured.observe(
        lambda: [((), int(registered.current))] if shared.leader.leading else []
    )
    shared.seam = handlers.Seam()
    metrics = ReviewMetrics(telemetry.instruments, store)
    reporting = shared.reports if shared.settings.admission_reports else None
    room = updaterequestroom.Room(
        client, shared.namespace, lambda: shared.configured.current().most_update_requests, time.monotonic
    )
    denials = decisions.Decisions(time.monotonic_ns, telemetry.instruments.decision_records_dropped.bind(()).add)
    owner = reviewing.Owner(
        telemetry,
        metrics,
        time.monotonic_ns,
        decided=reporting.decided if reporting is not None else None,
        excepted=lambda: shared.exceptions.current,
        afterwards=updaterequests.UpdateRequests(
            client,
            shared.namespace,
            lambda: shared.account,
            room,
            lambda type_: telemetry.instruments.update_requests_refused.bind((type_,)).add(),
        ),
        told=shared.telling,
        mutated=reporting.mutated if reporting is not None else None,
        denials=denials,
    )
    reviews = review.Reviews(
        store,
        answers,
        owner,
        managed.Protection(shared.namespace, shared.account) if shared.settings.protect_managed_resources else None,
        filtering.Filtering(shared.configured.current, shared.catalogues),
    )
    checks: dict[tuple[str, str], handlers.Check] = {
        (exception.VERSION, exception.PLURAL): shared.exceptions.check,
        (globalcontext.VERSION, globalcontext.PLURAL): outside.check_entry,
    }
    cleanable = collections.Check(client, shared.catalogues)
    checks |= {(cleanuppolicy.VERSION, plural): cleanable for plural in cleanuppolicy.PLURALS.values()}
    may = privileges.Privileges(client, lambda: shared.account)
    conditions = matchconditions.ConditionCheck(shared.untraced)
    handlers.register(shared.registry, reviews, shared.catalogues, checks, may, conditions, reached.answer, ttl.advice)
    registration.register(shared.registry, registered, shared.configured.names.labels)
    tls = server.TLS()
    certificate = webhookcertificate.WebhookCertificate(
        client, shared.namespace, shared.settings, tls, registered, telemetry
    )
    await certificate.start()
    https = server.Server(
        httpmetrics.CountedRoutes(
            handlers.routes(shared.registry, shared.seam, observing.Observed(telemetry, metrics, denials)),
            telemetry.instruments,
        ),
        tls,
        on_refused=metrics.refused,
    )
    serving = asyncio.Event()
    shared.health.require("the webhooks are not served yet", serving.is_set)
    shared.health.require(
        "the webhook configurations are not written yet", lambda: registered.registered or shared.leader.followed
    )
    shared.tasks += [
        shared.leader.lead(announced.run),
        certificate.run(),
        _serve(shared, https, serving),
    ]
    return https


async def _serve(shared: parts.Parts, https: server.Server, serving: asyncio.Event) -> None:
    """Serve once the policies are known: before, an answer would let pass what they forbid; likewise exceptions."""
    await shared.store.complete.wait()
    await shared.exceptions.listed()
    await shared.configured.store.listed()
    try:
        await https.start(shared.settings.webhook_host, shared.settings.webhook_port)
    except OSError as error:
        raise errors.PortTaken(f"port {shared.settings.webhook_port}: {error.strerror or error}") from error
    logger.info("Webhooks are served on port %d", https.port)
    serving.set()
    await asyncio.Event().wait()
