"""The review that says whether an object may be, and sees to it that what follows from it is noted first."""

import asyncio
from collections.abc import Awaitable
from typing import Any, ClassVar

from kymograph.apimachinery import duration
from kymograph.controllers.admission import reviewing, surroundings, updaterequests
from kymograph.controllers.admission.metrics import VALIDATING
from kymograph.engine import errors, evaluate, needs, policyset, verdict
from kymograph.telemetry import current


class Validation(reviewing.Review[evaluate.Evaluation]):
    """A review that says whether an object may be, and has noted what follows from it."""

    __slots__ = ("_concerned", "_consequences", "_failure")
    rules: ClassVar[str] = "validate"
    verb = "validate"
    webhook = VALIDATING

    def sets_off(self, policies: policyset.PolicySet, failure: reviewing.Failure, alone: str) -> bool:
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
        left = (self.deadline - self._owner.clock()) / duration.SECOND - reviewing.ANSWERING
        try:
            with current.serving(self.recorder, self.about()):
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
