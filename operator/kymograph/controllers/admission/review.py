"""One AdmissionReview, from the bytes of the request to the bytes of the answer: the hot path.

One decode, a look-up of the policies that may match, an evaluation that copies nothing, one encode. All of it happens
in the call that brought the bytes; only a policy that needs something from outside makes a task of the request.

A review either validates or mutates. The mutating one comes first and sees the object as it was sent; the validating
one sees what became of it, and only then are name and uid known, so it is the one that reports and annotates.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Generic, Literal, TypeVar

import orjson

from kymograph.apimachinery import duration, jsonpatch
from kymograph.controllers import managed, redaction
from kymograph.controllers import policies as stores
from kymograph.controllers.admission import decisions, filtering, server, surroundings, updaterequests, webhooks
from kymograph.controllers.admission.metrics import MUTATING, VALIDATING, ReviewMetrics
from kymograph.controllers.admission.spans import server_span
from kymograph.controllers.configuration import exclusions
from kymograph.controllers.events import telling
from kymograph.engine import budget, errors, evaluate, exceptions, mutate, needs, policyset, verdict
from kymograph.engine.images import application as images
from kymograph.engine.policy import CompiledPolicy
from kymograph.model import admission
from kymograph.telemetry import current
from kymograph.telemetry.providers import Telemetry

STEPS = 2_000_000
"""Steps one review may take: about two seconds of work."""

ANSWERING = 0.2
"""Seconds of a review's time that are kept for saying what was not answered."""

Failure = Literal["Fail", "Ignore"]


class Reviews:
    """Answers reviews by the policies of the moment.

    Args:
        store: The policies.
        facts: Knows the cluster.
        telemetry: Where spans go.
        metrics: What is counted.
        clock: Monotonic nanoseconds, the clock of request deadlines and of telemetry.
        decided: Is told of reviews that were allowed; None for nobody.
        excepted: Gives the PolicyExceptions of the moment.
        afterwards: Notes what requests set off; None where nothing does.
        told: Makes Events of what policies found; None for nobody.
        protection: Says which requests touch what Kyverno manages; None where everybody may.
        filtered: Says which requests no policy is for; None for none.
        mutated: Is told what policies changed; None for nobody.
        denials: Logs what was denied; None for nobody.
    """

    def __init__(
        self,
        store: stores.PolicyStore,
        facts: surroundings.Facts,
        telemetry: Telemetry,
        metrics: ReviewMetrics,
        clock: Callable[[], int],
        decided: surroundings.Decided | None = None,
        excepted: Callable[[], exceptions.Exceptions] = lambda: exceptions.NONE,
        afterwards: updaterequests.UpdateRequests | None = None,
        told: telling.Telling | None = None,
        protection: managed.Protection | None = None,
        filtered: filtering.Filtering | None = None,
        mutated: surroundings.Mutated | None = None,
        denials: decisions.Decisions | None = None,
    ) -> None:
        self._store = store
        self._facts = facts
        self.telemetry = telemetry
        self.metrics = metrics
        self.clock = clock
        self.decided = decided
        self.excepted = excepted
        self.afterwards = afterwards
        self.told = told
        self._protection = protection
        self.mutated = mutated
        self.denials = denials
        self._filtering = filtered or filtering.Filtering()

    def validate(self, http: server.Request, failure: Failure) -> server.Answer | Awaitable[server.Answer]:
        """Judge a review by the policies with one failure policy.

        Returns:
            The answer; an awaitable of it where a policy needs something from outside; 400 with the reason where the
            body is no AdmissionReview.
        """
        return self._answer(http, failure, _Validation)

    def mutate(self, http: server.Request, failure: Failure) -> server.Answer | Awaitable[server.Answer]:
        """Have the policies with one failure policy change the object of a review; returns as `validate` does."""
        return self._answer(http, failure, _Mutation)

    def _answer(
        self, http: server.Request, failure: Failure, sort: "type[_Validation | _Mutation]"
    ) -> server.Answer | Awaitable[server.Answer]:
        started = self.clock()
        try:
            request = admission.request_of(orjson.loads(http.body))
        except orjson.JSONDecodeError as error:
            return self._malformed(f"the body is not JSON: {error}")
        except admission.MalformedReview as error:
            return self._malformed(str(error))
        policies = self._store.policies
        alone = http.path.partition(webhooks.FINE_GRAINED)[2]
        held = policies.lookup(request, failure, sort.rules, alone)
        review = sort(self, http, request, started, held)
        if self._protection is not None and self._protection.refuses(request):
            return review.refused(managed.REFUSAL)
        sets_off = review.sets_off(policies, failure, alone)
        if not held and not sets_off:
            return review.unconcerned()
        if self._filtering.filters(request):
            return review.filtered()
        review.exclusions = self._filtering.by_roles()
        facts = needs.Facts()
        while True:
            try:
                return review.decide(facts)
            except needs.Needed as needed:
                if not self._facts.at_hand(needed.need, facts):
                    return self._with_needs(review, facts, needed.need)

    async def _with_needs(self, review: "_Validation | _Mutation", facts: needs.Facts, need: needs.Need) -> bytes:
        with current.serving(review.recorder):
            while True:
                await self._in_time(need, facts, review.deadline)
                try:
                    answer = review.decide(facts)
                    return answer if isinstance(answer, bytes) else await answer
                except needs.Needed as needed:
                    need = needed.need

    async def _in_time(self, need: needs.Need, facts: needs.Facts, deadline: int) -> None:
        """Fetch what is needed, or note that it takes too long: the answer that says so has to be in time, too."""
        left = (deadline - self.clock()) / duration.SECOND - ANSWERING
        try:
            async with asyncio.timeout(max(left, 0)):
                await self._facts.fetch(need, facts)
        except TimeoutError:
            facts.fail(need, "there was no answer in the time that the review has")

    def _malformed(self, reason: str) -> server.Response:
        self.metrics.refused("malformed_review")
        return server.Response(400, orjson.dumps({"error": f"malformed_review: {reason}"}))


_Work = TypeVar("_Work", evaluate.Evaluation, mutate.Mutation)


class _Review(Generic[_Work]):
    """What belongs to one review."""

    __slots__ = (
        "_evaluation",
        "_filtered",
        "_held",
        "_http",
        "_owner",
        "_request",
        "_started",
        "deadline",
        "exceptions",
        "exclusions",
        "recorder",
    )
    verb: ClassVar[str]
    webhook: ClassVar[str]

    def __init__(
        self,
        owner: Reviews,
        http: server.Request,
        request: dict[str, Any],
        started: int,
        held: tuple[CompiledPolicy, ...],
    ) -> None:
        self._evaluation: _Work | None = None
        self._filtered = False
        self._owner = owner
        self._http = http
        self._request = request
        self._started = started
        self._held = held
        self.deadline = http.deadline
        self.exceptions = owner.excepted()
        self.exclusions: exclusions.Exclusions | None = None
        self.recorder = owner.telemetry.begin(
            http.traceparent, http.tracestate, started, request.get("namespace") or "", http.fields
        )

    def sets_off(self, policies: policyset.PolicySet, failure: Failure, alone: str) -> bool:
        """Whether something may have to be done after the request besides answering it."""
        del policies, failure, alone
        return False

    def unconcerned(self) -> bytes:
        """The answer where no policy may concern the request."""
        raise NotImplementedError

    def answer(self, facts: needs.Facts) -> bytes | Awaitable[bytes]:
        """The answer by the policies; raises Needed where a fact is missing."""
        raise NotImplementedError

    def filtered(self) -> bytes:
        """The answer where the ConfigMap says that no policy is for the request."""
        self._filtered = True
        return self.unconcerned()

    def decide(self, facts: needs.Facts) -> bytes | Awaitable[bytes]:
        """The answer; asked again when a missing fact is there, this goes on where it stopped.

        Raises:
            Needed: A fact is missing.
        """
        if self.exclusions is not None:
            if filtering.excludes(self.exclusions, self._request, facts):
                return self.filtered()
            self.exclusions = None
        return self.answer(facts)

    def refused(self, message: str) -> bytes:
        """The denial of a request that is no policy's business."""
        return self._finish((), verdict.Verdict(blocked=True, message=message, warnings=()), dict)

    def _budget(self) -> budget.Budget:
        return budget.Budget(steps=STEPS, deadline=self.deadline, clock=self._owner.clock)

    def _finish(
        self,
        results: tuple[evaluate.PolicyResult, ...],
        judged: verdict.Verdict,
        annotations: Callable[[], dict[str, str]],
        patch: bytes = b"",
        more: tuple[evaluate.PolicyResult, ...] = (),
    ) -> bytes:
        """The answer; what happened is recorded and counted, once it is known whether that is to be kept.

        Args:
            results: What the verdict was made of.
            judged: The verdict.
            annotations: Says what the audit event is to hold.
            patch: What is to be changed; empty for nothing.
            more: What else was found, and did not matter for the verdict.
        """
        request, owner, recorder = self._request, self._owner, self.recorder
        untroubled = judged is verdict.ALLOWED and not more
        if more:
            results = (*results, *more)
        if recorder.decision.tentative:
            owner.telemetry.judge(
                recorder,
                owner.clock(),
                denied=judged.blocked,
                failed=lambda: not untroubled and surroundings.any_error(results),
                namespace=request.get("namespace") or "",
                policies=lambda: [result.policy.key for result in results],
            )
        link = owner.telemetry.decision_link(recorder.decision) if judged.blocked else ""
        document = admission.response(
            request["uid"],
            allowed=not judged.blocked,
            message=judged.message,
            warnings=(*judged.warnings, decisions.WARNING + link) if link else judged.warnings,
            audit_annotations=annotations(),
            patch=patch,
        )
        answer = orjson.dumps(document)
        ended = owner.clock()
        hidden = redaction.of(request)
        if hidden is not None:  # nobody but the request's author is told what is in it
            results, recorder.log = hidden.results(results), hidden.steps(recorder.log)
            judged = verdict.Verdict(
                judged.blocked, hidden.text(judged.message), tuple(hidden.text(each) for each in judged.warnings)
            )
        kept = None
        if recorder.decision.recorded:
            name, attributes, events = server_span(
                request,
                judged.message if judged.blocked else None,
                judged.warnings,
                ended,
                user=owner.telemetry.tells_users,
                verb=self.verb,
                patch_type=admission.PATCH_TYPE if patch else "",
                filtered=self._filtered,
            )
            recorder.finish(name, attributes, ended, events=events)
            kept = recorder if owner.telemetry.keep(recorder) else None
        owner.metrics.reviewed(request, not judged.blocked, results, ended - self._started, kept, self.webhook)
        if results and owner.told is not None:
            owner.told.reviewed(request, results, blocked=judged.blocked, link=link)
        if judged.blocked and owner.denials is not None:
            user = owner.telemetry.tells_users
            owner.denials.denied(request, results, judged.message, recorder, link=link, user=user)
        surroundings.log_defects(results, recorder)
        return answer


class _Validation(_Review[evaluate.Evaluation]):
    """A review that says whether an object may be, and has noted what follows from it."""

    __slots__ = ("_concerned", "_consequences", "_failure")
    rules: ClassVar[str] = "validate"
    verb = "validate"
    webhook = VALIDATING

    def sets_off(self, policies: policyset.PolicySet, failure: Failure, alone: str) -> bool:
        """Whether something may have to be done after the request besides answering it."""
        afterwards = self._owner.afterwards
        self._failure = failure
        self._consequences: updaterequests.Consequences | None = None
        self._concerned = None if afterwards is None else afterwards.concerned(policies, self._request, failure, alone)
        return self._concerned is not None

    def unconcerned(self) -> bytes:
        """The answer where no policy may concern the request."""
        return self._finish((), verdict.ALLOWED, self._annotations)

    def answer(self, facts: needs.Facts) -> bytes | Awaitable[bytes]:
        """The answer; asked again when a missing fact is there, this goes on where it stopped.

        Returns:
            The answer; an awaitable of it where something has to be noted first.

        Raises:
            Needed: A fact is missing.
        """
        owner = self._owner
        if self._evaluation is None:
            self._evaluation = evaluate.Evaluation(
                self._held,
                self._request,
                facts,
                self._budget(),
                owner.clock,
                self.recorder if self.recorder.recording else None,
                self.exceptions,
            )
        results = self._evaluation.run()
        judged = verdict.of(results, self._request)
        if self._concerned is None or judged.blocked:
            return self._concluded(results, judged)
        return self._with_consequences(self._concerned, facts, results, judged)

    def _concluded(
        self,
        results: tuple[evaluate.PolicyResult, ...],
        judged: verdict.Verdict,
        more: tuple[evaluate.PolicyResult, ...] = (),
    ) -> bytes:
        owner = self._owner
        answer = self._finish(results, judged, self._annotations, more=more)
        if not judged.blocked and owner.decided is not None:
            owner.decided(self._request, self._held, results, self.recorder.decision)
        return answer

    def _with_consequences(
        self,
        concerned: updaterequests.Concerned,
        facts: needs.Facts,
        results: tuple[evaluate.PolicyResult, ...],
        judged: verdict.Verdict,
    ) -> bytes | Awaitable[bytes]:
        owner, found = self._owner, self._consequences
        if owner.afterwards is None:
            return self._concluded(results, judged)
        if found is None:
            found = self._consequences = updaterequests.Consequences(
                owner.afterwards,
                concerned,
                self._request,
                facts,
                self._budget(),
                owner.clock,
                self.recorder if self.recorder.recording else None,
                self.exceptions,
            )
        try:
            found.run()
        except errors.EvaluationError as error:
            return self._concluded(results, self._unnoted(judged, str(error)), found.results)
        documents = found.documents(self.recorder.traceparent)
        if not documents:
            return self._concluded(results, judged, found.results)
        return self._noted(owner.afterwards, documents, results, judged, found.results)

    async def _noted(
        self,
        afterwards: updaterequests.UpdateRequests,
        documents: list[dict[str, Any]],
        results: tuple[evaluate.PolicyResult, ...],
        judged: verdict.Verdict,
        more: tuple[evaluate.PolicyResult, ...],
    ) -> bytes:
        """The answer, once what follows from it has been noted; where it cannot be, the failure policy decides."""
        left = (self.deadline - self._owner.clock()) / duration.SECOND - ANSWERING
        try:
            with current.serving(self.recorder):
                async with asyncio.timeout(max(left, 0)):
                    await afterwards.write(documents)
        except updaterequests.NotWritten as error:
            judged = self._unnoted(judged, str(error))
        except TimeoutError:
            judged = self._unnoted(judged, "what follows from the request could not be noted in the time that it has")
        return self._concluded(results, judged, more)

    def _unnoted(self, judged: verdict.Verdict, reason: str) -> verdict.Verdict:
        if self._failure == "Fail":
            return verdict.Verdict(blocked=True, message=reason, warnings=())
        return judged._replace(warnings=(*judged.warnings, reason))

    def _annotations(self) -> dict[str, str]:
        """What the audit event of this request is to say: which object, which trace, which change."""
        return surroundings.annotations(self._request, self._http.body, self.recorder)


class _Mutation(_Review[mutate.Mutation]):
    """A review that changes an object: by mutate rules first, then by rules that verify its images."""

    __slots__ = ("_verification", "_verifying")
    rules: ClassVar[str] = "mutate"
    verb = "mutate"
    webhook = MUTATING

    def unconcerned(self) -> bytes:
        """The answer where no policy may concern the request."""
        return self._finish((), verdict.ALLOWED, self._annotations)

    def sets_off(self, policies: policyset.PolicySet, failure: Failure, alone: str) -> bool:
        """Whether there are rules about the images of the object."""
        self._verification: images.Verification | None = None
        self._verifying = policies.lookup(self._request, failure, "imageVerify", alone)
        return bool(self._verifying)

    def answer(self, facts: needs.Facts) -> bytes:
        """The answer with the patch; see `_Validation.answer`."""
        if self._evaluation is None:
            self._evaluation = mutate.Mutation(
                self._held,
                self._request,
                facts,
                self._budget(),
                self._owner.clock,
                self.recorder if self.recorder.recording else None,
                self.exceptions,
            )
        results, resource = self._evaluation.run()
        judged = verdict.of_mutations(results)
        if self._verifying and resource is not None and not judged.blocked:
            verified, resource = self._verified(resource, facts)
            results = (*results, *verified)
            found = verdict.of(verified, self._request)
            judged = found._replace(warnings=() if found.blocked else (*judged.warnings, *found.warnings))
        before = self._request.get("object")
        patch = b""
        if not judged.blocked and resource is not None and resource is not before:
            operations = jsonpatch.make(before, resource)
            patch = orjson.dumps(operations) if operations else b""
        answer = self._finish(results, judged, self._annotations, patch)
        if results and not judged.blocked and resource is not None and self._owner.mutated is not None:
            self._owner.mutated(self._request, resource, self._held, results, self.recorder.decision)
        return answer

    def _verified(self, resource: dict[str, Any], facts: needs.Facts) -> mutate.Mutated:
        """What rules about images make of what mutate rules have made of the object."""
        if self._verification is None:
            self._verification = images.Verification(
                self._verifying,
                {**self._request, "object": resource},
                facts,
                self._budget(),
                self._owner.clock,
                self.recorder if self.recorder.recording else None,
                self.exceptions,
            )
        return self._verification.run()

    def _annotations(self) -> dict[str, str]:
        """The trace of the review, where it is the request's own.

        The API server calls again after other webhooks changed the object, and refuses a second value for a key; so
        nothing is said that differs from call to call: neither our span nor, without a caller's trace, the trace id.
        """
        parent = self.recorder.decision.parent
        return {} if parent is None else {"mutate-trace": f"{parent.trace_id:032x}"}
