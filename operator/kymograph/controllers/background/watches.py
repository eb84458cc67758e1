"""Watches what rules that synchronize have generated, and what it was cloned from: what changes there is work again.

Only metadata are watched, of objects with Kyverno's labels, and only of the kinds that policies generate at the moment.
What the operator has just written itself is no news. Objects that somebody else changes back each time are healed ever
more rarely.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from opentelemetry.trace import Tracer

from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.clients.kubernetes import informer, resources
from kymograph.controllers import policies, updaterequests
from kymograph.controllers.background import downstream, generating, kinds, notes
from kymograph.engine.generate import labels
from kymograph.engine.policy import CompiledPolicy, CompiledRule
from kymograph.telemetry import roots, semconv

logger = logging.getLogger(__name__)

MANAGED = f"{labels.MANAGED_BY}={labels.KYVERNO}"
SOURCES = labels.CLONE_SOURCE
"""Label selectors of what is generated, and of what is cloned."""

SETTLE = 0.5
"""Seconds between a change and the look at it: by then we know which version we have written ourselves."""

RETRY_AFTER = 2.0
"""Seconds until work that could not be noted is noted again."""

CALM = 60.0
"""Seconds after which an object counts as at rest."""

MOST_HEALED = 5
"""How often an object is healed at once before it has to wait until it is at rest."""


class _Seen(NamedTuple):
    """What is kept of an object's metadata; its status is no news where it has a generation."""

    place: str
    uid: str
    told: Mapping[str, str]
    trigger_name: str
    revision: str
    version: str


class _News(NamedTuple):
    """An object has changed, or gone (`now` is None)."""

    resource: resources.Resource
    seen: _Seen
    now: _Seen | None


class Watches:
    """The watches of generated objects and their sources; made anew for each time of leading.

    Args:
        client: Watches.
        catalogues: What the API server serves.
        store: The policies.
        written: Knows what we have written ourselves.
        noted: Notes what is to be done.
        tracer: Traces what is noted because of a change.
    """

    def __init__(
        self,
        client: informer.Source,
        catalogues: kinds.Catalogues,
        store: policies.PolicyStore,
        written: downstream.Downstream,
        noted: notes.Notes,
        tracer: Tracer,
    ) -> None:
        self._client = client
        self._catalogues = catalogues
        self._store = store
        self._written = written
        self._noted = noted
        self._tracer = tracer
        self._watched: dict[tuple[resources.Resource, str], tuple[informer.Informer, asyncio.Task[None]]] = {}
        self._news: dict[tuple[resources.Resource, str, str], tuple[float, _News]] = {}
        self._healed: dict[str, tuple[int, float]] = {}
        self._wanted = asyncio.Event()
        self._any_news = asyncio.Event()

    def look_again(self) -> None:
        """Policies or kinds have changed: find out what to watch."""
        self._wanted.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow())
                tasks.create_task(self._tell())
        finally:
            for _, task in self._watched.values():
                task.cancel()

    async def _follow(self) -> None:
        self._wanted.set()
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            wanted = set(self._needed())
            for place in [place for place in self._watched if place not in wanted]:
                _, task = self._watched.pop(place)
                task.cancel()
            for place in wanted - set(self._watched):
                made = self._informer(*place)
                self._watched[place] = made, asyncio.create_task(made.run())

    def _needed(self) -> Iterable[tuple[resources.Resource, str]]:
        for policy in self._store.policies.policies:
            for rule in policy.generate.every:
                if not rule.body.synchronize:
                    continue
                generate = generating.written(policy, rule)
                for api_version, kind in downstream.kinds_of(generate):
                    resource = kinds.known(self._catalogues.current, api_version, kind)
                    if resource is not None:
                        yield resource, MANAGED
                        if downstream.clones(generate):
                            yield resource, SOURCES

    def _informer(self, resource: resources.Resource, selector: str) -> informer.Informer:
        before: dict[informer.Key, _Seen] = {}

        def changed(key: informer.Key, seen: _Seen | None) -> None:
            was = before.get(key)
            if seen is None:
                before.pop(key, None)
            else:
                before[key] = seen
            if not made.synced.is_set() or (was is not None and seen is not None and _same(was, seen)):
                return
            about = seen or was
            if about is not None and (selector == MANAGED) == (about.told.get(labels.MANAGED_BY) == labels.KYVERNO):
                when = asyncio.get_running_loop().time() + SETTLE
                self._news[resource, about.uid, selector] = when, _News(resource, was or about, seen)
                self._any_news.set()

        made = informer.Informer(
            self._client, resource, label_selector=selector, metadata_only=True, project=_seen, changed=changed
        )
        return made

    async def _tell(self) -> None:
        """Note what is to be done about what has changed."""
        clock = asyncio.get_running_loop().time
        while True:
            await self._any_news.wait()
            await asyncio.sleep(SETTLE / 2)
            for place in [place for place, (due, _) in self._news.items() if due <= clock()]:
                _, news = self._news.pop(place)
                try:
                    if news.seen.told.get(labels.MANAGED_BY) == labels.KYVERNO:
                        await self._of_downstream(place, news)
                    else:
                        await self._of_source(news)
                except kubernetes_errors.KubernetesError as error:
                    logger.warning("What changed cannot be noted, trying again: %s", error)
                    self._news.setdefault(place, (clock() + RETRY_AFTER, news))
            if not self._news:
                self._any_news.clear()

    async def _of_downstream(self, place: tuple[resources.Resource, str, str], news: _News) -> None:
        version = news.now.version if news.now is not None else ""
        if self._written.wrote(news.seen.uid, version):
            return
        clock = asyncio.get_running_loop().time()
        about = f"{news.resource.plural}/{news.seen.place}"
        count, since = self._healed.get(about, (0, clock))
        if clock - since > CALM:
            count, since = 0, clock
        if count >= MOST_HEALED:
            logger.warning("%s %s is changed all the time and waits to be healed", news.resource.kind, news.seen.place)
            self._news.setdefault(place, (since + CALM + SETTLE, news))
            return
        self._healed[about] = count + 1, since
        if len(self._healed) > downstream.MOST_REMEMBERED:
            del self._healed[next(iter(self._healed))]
        await self._note(news, {("downstream", news.seen.uid, version): news.seen})

    async def _of_source(self, news: _News) -> None:
        version = news.now.version if news.now is not None else ""
        managed = self._watched.get((news.resource, MANAGED))
        if managed is None or self._written.wrote(news.seen.uid, version):
            return
        cloned = [each for each in managed[0].objects.values() if each.told.get(labels.SOURCE_UID) == news.seen.uid]
        await self._note(news, {("source", news.seen.uid, version, each.uid): each for each in cloned})

    async def _note(self, news: _News, generated: Mapping[tuple[str, ...], _Seen]) -> None:
        """Have the rules that synchronize applied again, by which objects were generated that a change is about."""
        wanted = []
        for about, seen in generated.items():
            found = _rule_of(self._store.policies.policies, seen.told)
            if found is not None and found[1].body.synchronize:
                wanted.append((about, *found, seen))
        if not wanted:
            return
        namespace, _, name = news.seen.place.rpartition("/")
        attributes = {
            semconv.OBJECT_KIND: news.resource.kind,
            semconv.OBJECT_NAMESPACE: namespace,
            semconv.OBJECT_NAME: name,
            semconv.OBJECT_UID: news.seen.uid,
        }
        with roots.root(self._tracer, "BACKGROUND object change", attributes):
            for about, policy, rule, seen in wanted:
                metadata = {"labels": seen.told, "annotations": {downstream.TRIGGER_NAME: seen.trigger_name}}
                trigger = downstream.trigger_of(metadata)
                await self._noted.note(about, updaterequests.GENERATE, policy.key, rule.name, trigger)


def _rule_of(held: Iterable[CompiledPolicy], told: Mapping[str, str]) -> tuple[CompiledPolicy, CompiledRule] | None:
    place = (told.get(labels.POLICY_NAMESPACE) or "", told.get(labels.POLICY_NAME))
    for policy in held:
        if (policy.namespace, policy.name) == place:
            for rule in policy.generate.every:
                if rule.name == told.get(labels.RULE_NAME):
                    return policy, rule
    return None


def _seen(document: dict[str, Any]) -> _Seen:
    metadata = document["metadata"]
    version = metadata["resourceVersion"]
    return _Seen(
        place=f"{metadata.get('namespace') or ''}/{metadata['name']}",
        uid=metadata["uid"],
        told=metadata.get("labels") or {},
        trigger_name=(metadata.get("annotations") or {}).get(downstream.TRIGGER_NAME) or "",
        revision=str(metadata.get("generation") or version),
        version=version,
    )


def _same(was: _Seen, now: _Seen) -> bool:
    return was._replace(version="") == now._replace(version="")
