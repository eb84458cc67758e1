"""The PolicyExceptions that every controller works with: compiled once, replaced as a whole, true to the cluster.

Who may write an exception lets objects pass, so exceptions count from one namespace only unless all are named. One
that does not compile excepts nothing: a mistake must not open a gap.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry import trace

from kymograph.clients.kubernetes import informer, resources
from kymograph.engine import errors
from kymograph.engine import exceptions as engine
from kymograph.telemetry import roots, semconv, work

logger = logging.getLogger(__name__)

EVERYWHERE = "*"
"""The namespace that stands for all."""

PATIENCE = 5.0
"""Seconds that serving waits for the first list. Without exceptions more is denied than should be, never less."""

_NOBODY = trace.NoOpTracer()

_DISABLED = "PolicyException resources would not be processed until it is enabled."
_ELSEWHERE = "PolicyException resource namespace must match the defined namespace."


class ExceptionStore:
    """All exceptions that count.

    Args:
        client: Lists and watches them.
        namespace: Where they count: a namespace, or `*` for all; None where none do.
        worked: Is told of each change that was taken in.
        tracer: For a root span of each.
    """

    def __init__(
        self,
        client: informer.Source,
        namespace: str | None,
        worked: work.Reconciled = work.uncounted,
        tracer: trace.Tracer = _NOBODY,
    ) -> None:
        self._namespace = namespace
        self._worked = worked
        self._tracer = tracer
        self._compiled: dict[informer.Key, engine.CompiledException] = {}
        self._current: engine.Exceptions | None = engine.NONE
        self._listeners: list[Callable[[], None]] = []
        self._informer = informer.Informer(
            client,
            resources.POLICY_EXCEPTIONS,
            namespace="" if namespace in (None, EVERYWHERE) else str(namespace),
            changed=self._changed,
        )

    @property
    def current(self) -> engine.Exceptions:
        """The exceptions of this moment; a review keeps those that it began with."""
        if self._current is None:  # many changes at once make one set
            self._current = engine.Exceptions(self._compiled.values())
        return self._current

    def listen(self, listener: Callable[[], None]) -> None:
        """Call a function after each change."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Follow the exceptions of the cluster until cancelled."""
        if self._namespace is None:
            await asyncio.Event().wait()
        await self._informer.run()

    async def listed(self) -> None:
        """Wait until all exceptions are known, or for `PATIENCE`."""
        if self._namespace is None:
            return
        try:
            async with asyncio.timeout(PATIENCE):
                await self._informer.synced.wait()
        except TimeoutError:
            logger.warning("The PolicyExceptions cannot be listed; until they can, none of them counts")

    def check(self, document: Mapping[str, Any]) -> tuple[str, ...]:
        """Look at an exception before it is written; returns what its author should be warned of, in Kyverno's words.

        Raises:
            PolicyInvalid: It does not compile, or names images where it must not, or none where it must.
        """
        engine.check(document)
        if self._namespace is None:
            return (_DISABLED,)
        if self._namespace not in (EVERYWHERE, document["metadata"].get("namespace")):
            return (_ELSEWHERE,)
        return ()

    def _changed(self, key: informer.Key, document: Mapping[str, Any] | None) -> None:
        began = time.perf_counter()
        about = {semconv.OBJECT_NAMESPACE: key[0], semconv.OBJECT_NAME: key[1]}
        with roots.root(self._tracer, "ADMISSION exception compilation", about) as span:
            outcome = self._take(key, document, span)
            self._current = None
            for listener in self._listeners:
                listener()
        self._worked(time.perf_counter() - began, outcome)

    def _take(self, key: informer.Key, document: Mapping[str, Any] | None, span: trace.Span) -> str:
        """Compile an exception, or forget it; the kind of error, or success."""
        self._compiled.pop(key, None)
        if document is not None:
            resource = resources.POLICY_EXCEPTIONS
            whole = {**document, "apiVersion": resource.api_version, "kind": resource.kind}
            try:
                self._compiled[key] = engine.compile_exception(whole)
            except errors.PolicyInvalid as invalid:
                logger.warning("PolicyException %s does not compile and excepts nothing: %s", "/".join(key), invalid)
                roots.fail(span, invalid)
                return type(invalid).__name__
            except Exception as error:  # one exception, however odd, must not stop the others
                logger.exception("PolicyException %s excepts nothing; this is a defect of Kymograph", "/".join(key))
                roots.fail(span, error)
                return type(error).__name__
        return work.SUCCESS
