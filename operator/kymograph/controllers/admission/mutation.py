"""The review that changes an object: by mutate rules first, then by rules that verify its images."""

from typing import Any, ClassVar

import orjson

from kymograph.apimachinery import jsonpatch
from kymograph.controllers.admission import reviewing
from kymograph.controllers.admission.metrics import MUTATING
from kymograph.engine import mutate, needs, policyset, verdict
from kymograph.engine.images import application as images


class Mutation(reviewing.Review[mutate.Mutation]):
    """A review that changes an object: by mutate rules first, then by rules that verify its images."""

    __slots__ = ("_verification", "_verifying")
    rules: ClassVar[str] = "mutate"
    verb = "mutate"
    webhook = MUTATING

    def unconcerned(self) -> bytes:
        """The answer where no policy may concern the request."""
        return self._finish((), verdict.ALLOWED, self._annotations)

    def sets_off(self, policies: policyset.PolicySet, failure: reviewing.Failure, alone: str) -> bool:
        """Whether there are rules about the images of the object."""
        self._verification: images.Verification | None = None
        self._verifying = policies.lookup(self._request, failure, "imageVerify", alone)
        return bool(self._verifying)

    def answer(self, facts: needs.Facts) -> bytes:
        """The answer with the patch; see `reviewing.Review.answer`."""
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
