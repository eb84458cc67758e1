"""What all reviews share: their trace, what is done once the verdict is there, and whom they ask and tell.

A review is made by its request and answers once, in the call that brought the request or, where a fact is missing, in
a task: `decide` is asked again when the fact is there, and goes on where it stopped.
"""

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Generic, Literal, TypeVar

import orjson

from kymograph.controllers import redaction
from kymograph.controllers.admission import decisions, filtering, server, surroundings, updaterequests
from kymograph.controllers.admission.metrics import ReviewMetrics
from kymograph.controllers.admission.spans import server_span
from kymograph.controllers.configuration import exclusions
from kymograph.controllers.events import telling
from kymograph.engine import budget, evaluate, exceptions, mutate, needs, policyset, verdict
from kymograph.engine.policy import CompiledPolicy
from kymograph.model import admission
from kymograph.telemetry import roots, subject
from kymograph.telemetry.providers import Telemetry

STEPS = 2_000_000
"""Steps one review may take: about two seconds of work."""

ANSWERING = 0.2
"""Seconds of a review's time that are kept for saying what was not answered."""

Failure = Literal["Fail", "Ignore"]


@dataclasses.dataclass(frozen=True, slots=True)
class Owner:
    """Whom reviews ask and tell.

    Attributes:
        telemetry: Where spans go.
        metrics: What is counted.
        clock: Monotonic nanoseconds, the clock of request deadlines and of telemetry.
        decided: Is told of reviews that were allowed; None for nobody.
        excepted: Gives the PolicyExceptions of the moment.
        afterwards: Notes what requests set off; None where nothing does.
        told: Makes Events of what policies found; None for nobody.
        mutated: Is told what policies changed; None for nobody.
        denials: Logs what was denied; None for nobody.
    """

    telemetry: Telemetry
    metrics: ReviewMetrics
    clock: Callable[[], int]
    decided: surroundings.Decided | None = None
    excepted: Callable[[], exceptions.Exceptions] = lambda: exceptions.NONE
    afterwards: updaterequests.UpdateRequests | None = None
    told: telling.Telling | None = None
    mutated: surroundings.Mutated | None = None
    denials: decisions.Decisions | None = None


_Work = TypeVar("_Work", evaluate.Evaluation, mutate.Mutation)


class Review(Generic[_Work]):
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
        owner: Owner,
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
        """The answer where the ConfigMap says that no policy is for the request; traced only if its caller is."""
        self._filtered = True
        decision = self.recorder.decision
        if decision.parent is None:
            self.recorder.decision = decision._replace(sampled=False, recorded=False, tentative=False)
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

    def about(self) -> subject.Subject:
        """What the review is about, for whoever logs and calls in it."""
        return self._about(redaction.of(self._request, self._owner.telemetry.redacted_paths))

    def _about(self, hidden: redaction.Redaction | None) -> subject.Subject:
        return subject.Subject(self._request["uid"], None if hidden is None else hidden.text)

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
        hidden = redaction.of(request, owner.telemetry.redacted_paths)
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
                self._http.path,
                user=owner.telemetry.tells_users,
                verb=self.verb,
                patch_type=admission.PATCH_TYPE if patch else "",
                filtered=self._filtered,
            )
            recorder.finish(name, attributes, ended, events=events)
            kept = recorder if owner.telemetry.keep(recorder) else None
        owner.metrics.reviewed(request, not judged.blocked, results, ended - self._started, kept, self.webhook)
        if results and owner.told is not None:
            cause = roots.of(recorder.decision) if kept is not None else None
            owner.told.reviewed(request, results, blocked=judged.blocked, link=link, cause=cause)
        if judged.blocked and owner.denials is not None:
            user = owner.telemetry.tells_users
            owner.denials.denied(request, results, judged.message, recorder, self._about(hidden), link=link, user=user)
        surroundings.log_defects(results, recorder, request["uid"])
        return answer
