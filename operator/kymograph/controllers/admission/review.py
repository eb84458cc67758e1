"""One AdmissionReview, from the bytes of the request to the bytes of the answer: the hot path.

One decode, a look-up of the policies that may match, an evaluation that copies nothing, one encode. All of it happens
in the call that brought the bytes; only a policy that needs something from outside makes a task of the request.

A review either validates or mutates. The mutating one comes first and sees the object as it was sent; the validating
one sees what became of it, and only then are name and uid known, so it is the one that reports and annotates.
"""

import asyncio
from collections.abc import Awaitable

import orjson

from kymograph.apimachinery import duration
from kymograph.controllers import managed
from kymograph.controllers import policies as stores
from kymograph.controllers.admission import (
    filtering,
    mutation,
    reviewing,
    server,
    surroundings,
    validation,
    webhooks,
)
from kymograph.engine import needs
from kymograph.model import admission
from kymograph.telemetry import current

_Review = validation.Validation | mutation.Mutation


class Reviews:
    """Answers reviews by the policies of the moment.

    Args:
        store: The policies.
        facts: Knows the cluster.
        owner: Whom reviews ask and tell.
        protection: Says which requests touch what Kyverno manages; None where everybody may.
        filtered: Says which requests no policy is for; None for none.
    """

    def __init__(
        self,
        store: stores.PolicyStore,
        facts: surroundings.Facts,
        owner: reviewing.Owner,
        protection: managed.Protection | None = None,
        filtered: filtering.Filtering | None = None,
    ) -> None:
        self._store = store
        self._facts = facts
        self._owner = owner
        self._clock = owner.clock
        self._metrics = owner.metrics
        self._protection = protection
        self._filtering = filtered or filtering.Filtering()

    def validate(self, http: server.Request, failure: reviewing.Failure) -> server.Answer | Awaitable[server.Answer]:
        """Judge a review by the policies with one failure policy.

        Returns:
            The answer; an awaitable of it where a policy needs something from outside; 400 with the reason where the
            body is no AdmissionReview.
        """
        return self._answer(http, failure, validation.Validation)

    def mutate(self, http: server.Request, failure: reviewing.Failure) -> server.Answer | Awaitable[server.Answer]:
        """Have the policies with one failure policy change the object of a review; returns as `validate` does."""
        return self._answer(http, failure, mutation.Mutation)

    def _answer(
        self, http: server.Request, failure: reviewing.Failure, sort: type[_Review]
    ) -> server.Answer | Awaitable[server.Answer]:
        started = self._clock()
        try:
            request = admission.request_of(orjson.loads(http.body))
        except orjson.JSONDecodeError as error:
            return self._malformed(f"the body is not JSON: {error}")
        except admission.MalformedReview as error:
            return self._malformed(str(error))
        policies = self._store.policies
        alone = http.path.partition(webhooks.FINE_GRAINED)[2]
        held = policies.lookup(request, failure, sort.rules, alone)
        review = sort(self._owner, http, request, started, held)
        if self._protection is not None and self._protection.refuses(request):
            return review.refused(managed.REFUSAL)
        sets_off = review.sets_off(policies, failure, alone)
        if not held and not sets_off:
            return review.unconcerned()
        if self._filtering.filters(request):
            return review.filtered()
        review.exclusions = self._filtering.by_roles()
        facts = needs.Facts(installation=self._store.installation)
        while True:
            try:
                return review.decide(facts)
            except needs.Needed as needed:
                if not self._facts.at_hand(needed.need, facts):
                    return self._with_needs(review, facts, needed.need)

    async def _with_needs(self, review: _Review, facts: needs.Facts, need: needs.Need) -> bytes:
        with current.serving(review.recorder, review.about()):
            while True:
                await self._in_time(need, facts, review.deadline)
                try:
                    answer = review.decide(facts)
                    return answer if isinstance(answer, bytes) else await answer
                except needs.Needed as needed:
                    need = needed.need

    async def _in_time(self, need: needs.Need, facts: needs.Facts, deadline: int) -> None:
        """Fetch what is needed, or note that it takes too long: the answer that says so has to be in time, too."""
        left = (deadline - self._clock()) / duration.SECOND - reviewing.ANSWERING
        try:
            async with asyncio.timeout(max(left, 0)):
                await self._facts.fetch(need, facts)
        except TimeoutError:
            facts.fail(need, "there was no answer in the time that the review has")

    def _malformed(self, reason: str) -> server.Response:
        self._metrics.refused("malformed_review")
        return server.Response(400, orjson.dumps({"error": f"malformed_review: {reason}"}))
