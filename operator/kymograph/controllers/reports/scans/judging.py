"""Policies applied to one object that exists, as if nobody in particular created it.

What contexts ask for is asked once for a whole batch of objects: a thousand Pods under a policy that reads a ConfigMap
are ten requests, not a thousand.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from kymograph.controllers.reports import confirmation
from kymograph.engine import budget, evaluate, exceptions, needs, watching
from kymograph.engine.policy import CompiledPolicy

PATIENCE = 10.0
"""Seconds that one need may take, the time that a webhook has by default."""


class Facts(Protocol):
    """Knows the cluster: what policies need to know beyond the object."""

    def at_hand(self, need: needs.Need, facts: needs.Facts) -> bool:
        """Add what a need turns out to be where that is known without asking anybody; whether it is."""

    async def fetch(self, need: needs.Need, facts: needs.Facts) -> None:
        """Find out what a need turns out to be and add it, or the reason why it cannot be known."""


class Judge:
    """Applies policies to objects.

    Args:
        facts: Knows the cluster.
        clock: Monotonic nanoseconds.
        excepted: Gives the PolicyExceptions of the moment.
    """

    def __init__(self, facts: Facts, clock: Callable[[], int], excepted: Callable[[], exceptions.Exceptions]) -> None:
        self._facts = facts
        self._clock = clock
        self._excepted = excepted
        self._of = exceptions.NONE
        self._in_background = exceptions.NONE

    async def judge(
        self,
        policies: Sequence[CompiledPolicy],
        request: Mapping[str, Any],
        known: needs.Facts,
        watcher: watching.Watcher | None = None,
    ) -> tuple[evaluate.PolicyResult, ...]:
        """What policies say of an object.

        Args:
            policies: The policies that may concern it.
            request: `confirmation.request_about` the object.
            known: What is known of the world; what is asked for is added.
            watcher: Is told the steps; None for nobody.
        """
        spendable = budget.Budget(steps=confirmation.STEPS)
        evaluation = evaluate.Evaluation(policies, request, known, spendable, self._clock, watcher, self._exceptions())
        while True:
            try:
                return evaluation.run()
            except needs.Needed as needed:
                if not self._facts.at_hand(needed.need, known):
                    await self._fetch(needed.need, known)

    async def _fetch(self, need: needs.Need, known: needs.Facts) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await self._facts.fetch(need, known)
        except TimeoutError:
            known.fail(need, f"there was no answer within {PATIENCE:.0f} s")

    def _exceptions(self) -> exceptions.Exceptions:
        current = self._excepted()
        if current is not self._of:
            self._of, self._in_background = current, current.in_background()
        return self._in_background
