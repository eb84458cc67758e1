"""Tells the author of a policy what became of it: the Ready condition, written after the request that changed it.

A policy that does not compile says so here, with every problem; the others go on. Written only when it differs from
what the policy says already.
"""

import asyncio
import datetime as dt
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from opentelemetry.trace import SpanContext

from kymograph.clients.kubernetes import errors, resources
from kymograph.controllers import policies, policyspans
from kymograph.telemetry import roots
from kymograph.telemetry.providers import Telemetry

logger = logging.getLogger(__name__)

RETRY_AFTER = 2.0
"""Seconds until a status that could not be written is tried again."""

_COUNTED_AS = {"imageVerify": "verifyimages"}

_NOT_CEL = "skip generating ValidatingAdmissionPolicy for non CEL rules."
_SEVERAL = "skip generating ValidatingAdmissionPolicy: multiple rules are not applicable."

MOST_MESSAGE = 32_768
"""Characters of a condition's message that the CRD takes."""


class Merger(Protocol):
    """What the writer asks of a Kubernetes client."""

    async def merge(
        self,
        resource: resources.Resource,
        name: str,
        patch: Mapping[str, Any],
        *,
        namespace: str,
        subresource: str,
    ) -> dict[str, Any]:
        """Patch an object by a JSON merge patch."""


class PolicyStatusWriter:
    """Writes the status of policies, one unit of work (and one trace) per policy.

    Args:
        client: Writes with the operator's identity.
        store: Whose policies.
        telemetry: Where each write is traced.
        covers: Waits until API servers are told to ask about the policies of a generation; before, none of them is
            ready. What does not compile goes first and waits for nobody.
        now: The time of a condition's transition.
        compilation: The span of the latest compilation of a policy; None where that was not traced.
    """

    def __init__(
        self,
        client: Merger,
        store: policies.PolicyStore,
        telemetry: Telemetry,
        covers: Callable[[int], Awaitable[None]],
        now: Callable[[], dt.datetime],
        compilation: Callable[[policies.Key], SpanContext | None] = lambda _key: None,
    ) -> None:
        self._client = client
        self._store = store
        self._telemetry = telemetry
        self._covers = covers
        self._now = now
        self._compilation = compilation
        self._pending: dict[policies.Key, tuple[policies.Held, int]] = {}
        self._work = asyncio.Event()
        self._counted = telemetry.work("status-controller")
        self._counted.queue(lambda: len(self._pending), led=True)
        store.listen(self._changed)

    async def run(self) -> None:
        """Write until cancelled. A write that fails is tried again unless the policy is gone or has changed.

        It begins with every policy there is, so it may be run again after somebody else wrote.
        """
        with self._counted.attending():
            for held in self._store.held:
                self._changed(held.key, held)
            await self._write_all()

    async def _write_all(self) -> None:
        tries = 0
        while True:
            await self._work.wait()
            self._work.clear()
            failed = {}
            while self._pending:
                key, news = self._next()
                held, generation = news
                if held.compiled is not None:
                    await self._covers(generation)
                if self._pending.get(key) is not news:  # changed or deleted while we waited
                    continue
                del self._pending[key]
                self._counted.taken(key)
                try:
                    with self._counted.reconciling():
                        await self._write(held)
                except errors.NotFound:
                    continue
                except errors.KubernetesError as error:
                    logger.warning("The status of policy %s cannot be written, trying again: %s", key.name, error)
                    failed[key] = generation
            tries = tries + 1 if failed else 0
            for _ in failed:
                self._counted.requeued(tries)
            if failed:
                await asyncio.sleep(RETRY_AFTER)
                current = {held.key: held for held in self._store.held}
                for key, generation in failed.items():
                    if key in current:
                        self._pending.setdefault(key, (current[key], generation))
                        self._counted.entered(key)
                self._work.set()

    def _next(self) -> tuple[policies.Key, tuple[policies.Held, int]]:
        waiting = self._pending.items()
        return next((each for each in waiting if each[1][0].compiled is None), None) or next(iter(waiting))

    def _changed(self, key: policies.Key, held: policies.Held | None) -> None:
        self._pending.pop(key, None)
        if held is None:
            self._counted.withdrawn(key)
        else:
            self._pending[key] = held, self._store.policies.generation
            self._counted.entered(key)
            self._work.set()

    async def _write(self, held: policies.Held) -> None:
        before = held.document.get("status") or {}
        status = render(held, self._now())
        if _told(before, status):
            return
        resource = policies.RESOURCES[held.key.kind]
        attributes = policyspans.attributes(resource, held.key.namespace, held.key.name)
        tracer = self._telemetry.tracer_for("background")
        with roots.root(tracer, "BACKGROUND policy status", attributes, (self._compilation(held.key),)):
            await self._client.merge(
                resource,
                held.key.name,
                {"metadata": {"uid": held.uid}, "status": status},
                namespace=held.key.namespace,
                subresource="status",
            )


def render(held: policies.Held, now: dt.datetime) -> dict[str, Any]:
    """The status of a policy, with Kyverno's fields.

    Rules that were made for controllers of Pods are shown whole, and not counted. No ValidatingAdmissionPolicy is ever
    generated: that is for rules in CEL, which are not enforced yet, and so it is said in Kyverno's words.
    """
    ready = held.compiled is not None
    before = _ready_condition(held.document.get("status") or {})
    unchanged = before.get("status") == ("True" if ready else "False")
    condition = {
        "type": "Ready",
        "status": "True" if ready else "False",
        "reason": "Succeeded" if ready else "Failed",
        "message": "Ready" if ready else "; ".join(map(str, held.problems))[:MOST_MESSAGE],
        "lastTransitionTime": (unchanged and before.get("lastTransitionTime")) or now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "observedGeneration": held.generation,
    }
    counts = dict.fromkeys(("validate", "mutate", "generate", "verifyimages"), 0)
    rewritten: list[Any] = []
    if held.compiled is not None:
        rewritten += held.compiled.rewritten
        for rule in held.compiled.rules[: len(held.compiled.rules) - len(rewritten)]:
            counts[_COUNTED_AS.get(rule.type, rule.type)] += 1
    # A merge patch takes away what is null: the API server stores `autogen: {}` where there are none, as Kyverno does.
    autogen = {"rules": rewritten or None}
    generated = {"generated": False, "message": _why_not_generated(held)}
    return {
        "ready": ready,
        "conditions": [condition],
        "autogen": autogen,
        "rulecount": counts,
        "validatingadmissionpolicy": generated,
    }


def _why_not_generated(held: policies.Held) -> str:
    if held.key.namespace:
        return ""
    rules = (held.document.get("spec") or {}).get("rules")
    return _SEVERAL if isinstance(rules, list) and len(rules) > 1 else _NOT_CEL


def _told(before: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    old = _ready_condition(before)
    new = status["conditions"][0]
    fields = ("status", "reason", "message", "observedGeneration")
    return (
        all(old.get(field) == new[field] for field in fields)
        and before.get("ready") == status["ready"]
        and all(before.get(field) == status[field] for field in ("rulecount", "validatingadmissionpolicy"))
        and (before.get("autogen") or {}).get("rules") == status["autogen"]["rules"]
    )


def _ready_condition(status: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((c for c in status.get("conditions") or [] if c.get("type") == "Ready"), {})
