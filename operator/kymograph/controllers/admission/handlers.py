"""The admission entry points, as handlers in Kopf's registry, and the server that Kopf is given.

Reviews of policies are dispatched by Kopf. Reviews of resources are not: Kopf's dispatch costs several times the
decision itself (most of it a copy of the object). Their handlers are registered like all others, taken from the
registry once, and called directly. A path that names no handler is refused, never allowed.
"""

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from typing import Any, cast

import kopf

from kymograph.clients.kubernetes import discovery
from kymograph.controllers.admission import matchconditions, observing, policyadvice, review, server, webhooks
from kymograph.controllers.admission import privileges as rights
from kymograph.engine import compile as compiler
from kymograph.engine import errors
from kymograph.model import admission
from kymograph.model import policy as model

logger = logging.getLogger(__name__)

_RESOURCE_HANDLERS = {
    webhooks.FAIL_PATH: "fail",
    webhooks.IGNORE_PATH: "ignore",
    webhooks.MUTATE_FAIL_PATH: "mutate-fail",
    webhooks.MUTATE_IGNORE_PATH: "mutate-ignore",
}
_POLICY_HANDLER = "policies"
_REACHABILITY_HANDLER = "reachability"
_TTL_HANDLER = "ttl"


Check = Callable[[Mapping[str, Any]], Iterable[str] | Awaitable[Iterable[str]]]
"""Looks at an object before it is written: gives what its author is to be warned of, or raises PolicyInvalid.

One that has to ask the API server first is a coroutine function.
"""


def register(
    registry: kopf.OperatorRegistry,
    reviews: review.Reviews,
    catalogues: discovery.Catalogues,
    checks: Mapping[tuple[str, str], Check],
    privileges: rights.Privileges | None = None,
    conditions: matchconditions.ConditionCheck | None = None,
    reachable: server.Handler | None = None,
    advice: Callable[[Mapping[str, Any]], tuple[str, ...]] | None = None,
) -> None:
    """Register every admission entry point.

    Args:
        registry: Where.
        reviews: Judges resources.
        catalogues: What the API server serves, which policies are compared with.
        checks: Who looks at what goes with policies, by version and plural of the group `kyverno.io`.
        privileges: Knows what the operator may do; None to refuse no policy because of it.
        conditions: Has match conditions of policies checked; None to take them as they are.
        reachable: Answers when an API server shows that it reaches us; None where nobody asks for that.
        advice: What is to be said of an object with a label that says when it goes; None where nobody asks for that.
    """

    @kopf.on.validate(kopf.EVERYTHING, id="fail", registry=registry)
    def fail(**given: Any) -> Any:
        return reviews.validate(given["http"], "Fail")

    @kopf.on.validate(kopf.EVERYTHING, id="ignore", registry=registry)
    def ignore(**given: Any) -> Any:
        return reviews.validate(given["http"], "Ignore")

    @kopf.on.mutate(kopf.EVERYTHING, id="mutate-fail", registry=registry)
    def mutate_fail(**given: Any) -> Any:
        return reviews.mutate(given["http"], "Fail")

    @kopf.on.mutate(kopf.EVERYTHING, id="mutate-ignore", registry=registry)
    def mutate_ignore(**given: Any) -> Any:
        return reviews.mutate(given["http"], "Ignore")

    if reachable is not None:

        @kopf.on.mutate(kopf.EVERYTHING, id=_REACHABILITY_HANDLER, registry=registry)
        def reached(**given: Any) -> Any:
            return reachable(given["http"])

    if advice is not None:

        @kopf.on.validate(kopf.EVERYTHING, id=_TTL_HANDLER, registry=registry)
        def labelled(**given: Any) -> Any:
            return _advised(given["document"], advice)

    @_noted
    async def check_policy(body: kopf.Body, warnings: list[str], **given: Any) -> None:
        document = dict(body)
        try:
            compiled = compiler.compile_policy(document)
        except errors.PolicyInvalid as invalid:
            raise _refusal("policy", invalid.problems) from invalid
        old = given.get("old")
        advice = await policyadvice.of(document, catalogues, None if old is None else dict(old))
        warnings += advice.warnings
        if advice.problems:
            raise _refusal("policy", advice.problems)
        if conditions is not None:
            refused = await conditions.problems(compiled)
            if refused:
                raise _refusal("policy", refused)
        if privileges is not None:
            lacking = await privileges.lacking(document, catalogues.current)
            if lacking.problems:
                raise _refusal("policy", lacking.problems)
            warnings += lacking.warnings

    for plural in model.PLURALS.values():
        kopf.on.validate(model.GROUP, model.VERSION, plural, id=_POLICY_HANDLER, registry=registry)(check_policy)

    for (version, plural), check in checks.items():
        kopf.on.validate(model.GROUP, version, plural, id=_POLICY_HANDLER, registry=registry)(_checking(check))


def _noted(check: Callable[..., Awaitable[None]]) -> Callable[..., Coroutine[Any, Any, None]]:
    """A check of which whoever observes the review knows what it raised, except a refusal."""

    @functools.wraps(check)
    async def checked(**given: Any) -> None:
        with observing.noting(kopf.AdmissionError):
            await check(**given)

    return checked


def _checking(check: Check) -> Callable[..., Coroutine[Any, Any, None]]:
    @_noted
    async def check_object(body: kopf.Body, warnings: list[str], **_: Any) -> None:
        try:
            found = check(dict(body))
            warnings += await found if isinstance(found, Awaitable) else found
        except errors.PolicyInvalid as invalid:
            raise _refusal(body["kind"], invalid.problems) from invalid

    return check_object


def _refusal(kind: str, problems: Iterable[errors.Problem]) -> kopf.AdmissionError:
    listed = "".join(f"\n  {problem}" for problem in problems)
    return kopf.AdmissionError(f"the {kind} cannot be enforced as written:{listed}", code=422)


class Seam:
    """What Kopf takes for an admission server (`settings.admission.server`).

    Kopf starts its admission late, after a scan of the whole API; our server serves from the start. What Kopf hands
    over here is its dispatch, which reviews of policies wait for.
    """

    def __init__(self) -> None:
        self._dispatch: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def __call__(self, dispatch: kopf.WebhookFn) -> AsyncIterator[kopf.WebhookClientConfig]:
        """Take Kopf's dispatch; configurations are written by us, so Kopf only learns that there is a server."""
        if not self._dispatch.done():
            self._dispatch.set_result(dispatch)
        yield kopf.WebhookClientConfig(url="https://unmanaged.invalid")
        await asyncio.Event().wait()

    async def dispatch(self, document: Mapping[str, Any], handler: str) -> Mapping[str, Any]:
        """Have Kopf judge a review by a registered handler."""
        dispatch = await asyncio.shield(self._dispatch)
        return cast("Mapping[str, Any]", await dispatch(document, webhook=handler))


def routes(registry: kopf.OperatorRegistry, seam: Seam, observed: observing.Observed) -> Mapping[str, server.Handler]:
    """The paths that are served, each with its handler from the registry."""
    table: dict[str, server.Handler] = {
        path: _direct(_registered(registry, handler)) for path, handler in _RESOURCE_HANDLERS.items()
    }
    table[webhooks.POLICIES_PATH] = observed.handler(lambda document: seam.dispatch(document, _POLICY_HANDLER))
    reached, labelled = _found(registry, _REACHABILITY_HANDLER), _found(registry, _TTL_HANDLER)
    if reached is not None:
        table[webhooks.REACHABILITY_PATH] = _direct(reached)
    if labelled is not None:
        table[webhooks.TTL_PATH] = observed.handler(_at_once(labelled))
    return _Routes(table)


class _Routes(Mapping[str, server.Handler]):
    """Handlers by path; what stands below the path of a webhook for resources is the key of a policy."""

    def __init__(self, table: Mapping[str, server.Handler]) -> None:
        self._table = table

    def __getitem__(self, path: str) -> server.Handler:
        handler = self._table.get(path)
        if handler is not None:
            return handler
        shared, separator, _ = path.partition(webhooks.FINE_GRAINED)
        if separator and shared in _RESOURCE_HANDLERS:
            return self._table[shared]
        raise KeyError(path)

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)


def _registered(registry: kopf.OperatorRegistry, handler: str) -> Callable[..., Any]:
    found = _found(registry, handler)
    if found is None:
        raise LookupError(f"no admission handler {handler!r} is registered")
    return found


def _found(registry: kopf.OperatorRegistry, handler: str) -> Callable[..., Any] | None:
    for registered in registry._webhooks.get_all_handlers():  # noqa: SLF001  # Kopf has no public look-up by id
        if registered.id == handler:
            return registered.fn
    return None


def _direct(handler: Callable[..., Any]) -> server.Handler:
    return lambda http: handler(http=http)


def _at_once(handler: Callable[..., Any]) -> observing.Judge:
    async def judge(document: Mapping[str, Any]) -> Mapping[str, Any]:
        return cast("Mapping[str, Any]", handler(document=document))

    return judge


def _advised(document: Mapping[str, Any], advice: Callable[[Mapping[str, Any]], tuple[str, ...]]) -> Mapping[str, Any]:
    """Allow a review, with what is to be said of its object."""
    request = document["request"]
    return admission.response(request["uid"], allowed=True, warnings=advice(request.get("object") or {}))
