"""The rows of a test: what it expects beside what came out, entry by entry and resource by resource.

The rules are Kyverno's, also where they are generous: a resource that no rule of the policy looked at is *excluded*
and passes whatever was expected; an entry that names only resources which are not there is about all resources.
`strict` takes the generosity away.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from kymograph.cli.offline import errors, judge, policies, reported, resources
from kymograph.cli.testing import compare, manifest, rows
from kymograph.engine import policy, results
from kymograph.engine.rules import outcome

Responses: TypeAlias = Mapping[resources.Key, Sequence[judge.Response]]

_AUTOGEN = ("", "autogen-", "autogen-cronjob-")


Targets: TypeAlias = Mapping[resources.Key, Sequence[tuple[judge.Response, judge.Patched]]]


class Evaluated(Protocol):
    """What a test's policies made of its resources."""

    @property
    def responses(self) -> Responses:
        """By resource, in the order of the files; for the operation that values choose."""

    @property
    def by_operation(self) -> Mapping[str, Responses]:
        """The same for each operation that an entry asks for."""

    @property
    def targets(self) -> Targets:
        """What became of the target resources."""

    @property
    def refused(self) -> Sequence[policies.Refused]:
        """The policies that were not applied."""

    def objects(self, name: str) -> list[dict[str, Any]]:
        """The objects in a file of the test.

        Raises:
            InputInvalid: It cannot be read.
        """

    def line_of(self, path: str) -> int:
        """The line of a field of the test."""

    def trace(self, each: policy.CompiledPolicy, rule: str, key: resources.Key, operation: str) -> str:
        """How a policy was evaluated on a resource; empty where nobody wants to know."""


class _Verdict(NamedTuple):
    ok: bool
    reason: str
    message: str


class Checker:
    """Makes the rows of one test.

    Args:
        evaluated: What came out.
        file: The test's file, as it is shown.
        strict: Fail what no rule looked at, and entries about resources that are not there.
    """

    def __init__(self, evaluated: Evaluated, file: str, *, strict: bool) -> None:
        self._evaluated = evaluated
        self._file = file
        self._strict = strict
        self._made = 0

    def check(self, expectations: Iterable[manifest.Expected]) -> Iterator[rows.Row]:
        """The rows for some entries, in order."""
        for expected in expectations:
            responses = self._evaluated.responses
            if expected.operation:
                responses = self._evaluated.by_operation[expected.operation]
            if self._strict:
                for name in _missing(expected, (self._evaluated.targets, responses)):
                    yield self._row(expected, name, rows.FAIL, rows.NOT_FOUND, "no resource of the test has this name")
            for key in _chosen(expected, (self._evaluated.targets, responses)):
                yield from self._of_resource(expected, key, responses)

    def _of_resource(self, expected: manifest.Expected, key: resources.Key, responses: Responses) -> list[rows.Row]:
        about = [each for each in responses.get(key, ()) if each.policy.name == _name(expected)]
        found = (each for response in about for each in response.results)
        unanswered = next((each for each in found if _is_unanswered(expected, each)), None)
        if unanswered is not None:
            reason = f"{rows.NOT_SUPPORTED}: signatures of images"
            return [self._row(expected, str(key), rows.FAIL, reason, unanswered.message, rule=unanswered.rule.name)]
        made: list[rows.Row] = []
        passed_over = False
        for response in about:
            for index, result in enumerate(response.results):
                if not _is_about(expected, result):
                    continue
                if response.type == judge.GENERATE and response.generated[index]:
                    made += [self._of_object(expected, response, result, each) for each in response.generated[index]]
                    continue
                row = self._of_result(expected, key, response, result)
                if row is None:
                    passed_over = True
                else:
                    made.append(row)
            if not made and not passed_over:
                made.append(self._excluded(expected, key, response))
        for response, patched in self._evaluated.targets.get(key, ()):
            verdict = self._judge(expected, response, patched.result, patched.resource)
            made.append(self._judged(expected, str(key), patched.result.rule.name, verdict))
        refused = [each for each in self._evaluated.refused if each.name == _name(expected)]
        made += [self._unsupported(expected, key, each) for each in refused if each.unsupported]
        if made or passed_over:
            return made
        if refused:
            return [self._row(expected, str(key), rows.SKIP, rows.INVALID_POLICY, refused[0].reason, skipped=True)]
        return [self._row(expected, str(key), rows.FAIL, rows.NOT_FOUND, "no policy of the test has this name")]

    def _of_result(
        self, expected: manifest.Expected, key: resources.Key, response: judge.Response, result: results.RuleResult
    ) -> rows.Row | None:
        """The row for a result; None where the expected patched resource is not there and need not be."""
        if response.type == judge.GENERATE:
            verdict = _judge_status(expected, response, result)
            reason = next(
                (why for one, why in zip(response.results, response.unmade, strict=False) if one is result), ""
            )
            if reason and self._strict:
                verdict = _Verdict(ok=False, reason=rows.RESOURCE_ERROR, message=reason)
        else:
            verdict = self._judge(expected, response, result, response.resource)
            if verdict.reason == rows.RESOURCE_ERROR and _NOT_THERE in verdict.message and not expected.fail_on_missing:
                return None
        if verdict.ok:
            return self._judged(expected, str(key), result.rule.name, verdict)
        trace = self._evaluated.trace(response.policy, result.rule.name, key, expected.operation)
        return self._judged(expected, str(key), result.rule.name, verdict, trace)

    def _of_object(
        self,
        expected: manifest.Expected,
        response: judge.Response,
        result: results.RuleResult,
        generated: dict[str, Any],
    ) -> rows.Row:
        verdict = self._judge(expected, response, result, generated)
        return self._judged(expected, f"/{resources.key_of(generated).name}", result.rule.name, verdict)

    def _judge(
        self,
        expected: manifest.Expected,
        response: judge.Response,
        result: results.RuleResult,
        actual: dict[str, Any],
    ) -> _Verdict:
        """Whether an object and a status are as expected."""
        if expected.patched:
            differs = self._differs(actual, expected.patched, "PatchedResources")
            if differs:
                reason, text = differs
                if reason == rows.RESOURCE_DIFF:
                    text = f"Patched resource didn't match the patched resource in the test result\n{text}"
                return _Verdict(ok=False, reason=reason, message=text)
        if expected.generated:
            kind = "GeneratedResource" if expected.generated_singly else "GeneratedResources"
            found = [self._differs(actual, name, kind) for name in expected.generated]
            if all(found):
                texts = [(reason, text) for reason, text in filter(None, found)]
                reason, text = next((each for each in reversed(texts) if each[0] == rows.RESOURCE_DIFF), texts[-1])
                if reason == rows.RESOURCE_DIFF:
                    what = "the" if expected.generated_singly else "any of the expected"
                    text = f"Generated resource didn't match {what} generated resource in the test result\n{text}"
                return _Verdict(ok=False, reason=reason, message=text)
        return _judge_status(expected, response, result)

    def _differs(self, actual: dict[str, Any], name: str, kind: str) -> tuple[str, str] | None:
        """The reason and the message where an object is not as the one of its key in a file; None if it is."""
        try:
            wanted = compare.find(self._evaluated.objects(name), actual)
        except errors.InputInvalid as invalid:
            return rows.RESOURCE_ERROR, f"error: failed to load {kind} resource ({invalid})"
        if wanted is None:
            missing = f"resource with name {resources.key_of(actual).name} {_NOT_THERE}"
            return rows.RESOURCE_ERROR, f"error: failed to load {kind} resource ({missing})"
        text = compare.difference(actual, wanted)
        return (rows.RESOURCE_DIFF, text) if text else None

    def _judged(
        self, expected: manifest.Expected, resource: str, rule: str, verdict: _Verdict, trace: str = ""
    ) -> rows.Row:
        result = rows.PASS if verdict.ok else rows.FAIL
        skipped = verdict.ok and expected.result == "skip"
        return self._row(
            expected, resource, result, verdict.reason, verdict.message, rule=rule, skipped=skipped, trace=trace
        )

    def _excluded(self, expected: manifest.Expected, key: resources.Key, response: judge.Response) -> rows.Row:
        if self._strict:
            trace = self._evaluated.trace(response.policy, "", key, expected.operation)
            message = "no rule of the policy looked at it"
            return self._row(expected, str(key), rows.FAIL, rows.EXCLUDED, message, trace=trace)
        return self._row(expected, str(key), rows.PASS, rows.EXCLUDED, rows.EXCLUDED, skipped=True)

    def _unsupported(self, expected: manifest.Expected, key: resources.Key, refused: policies.Refused) -> rows.Row:
        reason = f"{rows.NOT_SUPPORTED}: {', '.join(refused.unsupported)}"
        return self._row(expected, str(key), rows.FAIL, reason, refused.reason)

    def _row(
        self,
        expected: manifest.Expected,
        resource: str,
        result: str,
        reason: str,
        message: str,
        *,
        rule: str = "",
        skipped: bool = False,
        trace: str = "",
    ) -> rows.Row:
        self._made += 1
        return rows.Row(
            id=self._made,
            policy=expected.policy,
            rule=rule or expected.rule,
            resource=resource,
            result=result,
            reason=reason,
            message=message,
            skipped=skipped,
            file=self._file,
            line=self._evaluated.line_of(expected.path),
            trace=trace,
        )


_NOT_THERE = "not found in manifest"


def _judge_status(expected: manifest.Expected, response: judge.Response, result: results.RuleResult) -> _Verdict:
    status = reported.status(response.policy, result)
    ok = status == expected.result
    reason = rows.OK if ok else f"Want {expected.result}, got {status}"
    return _Verdict(ok, reason, reported.message(result))


def _name(expected: manifest.Expected) -> str:
    return expected.policy.rpartition("/")[2]


def _is_about(expected: manifest.Expected, result: results.RuleResult) -> bool:
    return not expected.rule or any(result.rule.name == prefix + expected.rule for prefix in _AUTOGEN)


def _is_unanswered(expected: manifest.Expected, result: results.RuleResult) -> bool:
    """Whether a rule came to something that this version does not do, so that whatever it says is no verdict."""
    return _is_about(expected, result) and result.status == outcome.ERROR and policies.UNSUPPORTED in result.message


def _chosen(expected: manifest.Expected, tables: Sequence[Mapping[resources.Key, Any]]) -> list[resources.Key]:
    """The resources that an entry is about: those it names, all where it names none that is there."""
    found: list[resources.Key] = []
    if expected.resources is not None:
        for name in expected.resources:
            found += [key for table in tables for key in _named(name, table)]
        for api_version, namespace, name in expected.specs:
            found += [
                key
                for table in tables
                for key in table
                if (key.api_version, key.namespace, key.name) == (api_version, namespace, name)
            ]
    return found or [key for table in tables for key in table]


def _missing(expected: manifest.Expected, tables: Sequence[Mapping[resources.Key, Any]]) -> list[str]:
    return [name for name in expected.resources or () if not any(_named(name, table) for table in tables)]


def _named(name: str, keys: Iterable[resources.Key]) -> list[resources.Key]:
    """The keys that `name` or `namespace/name` means."""
    namespace, slash, plain = name.rpartition("/")
    return [key for key in keys if key.name == plain and (not slash or key.namespace == namespace)]
