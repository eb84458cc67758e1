"""What policies say about a Secret, without what is in it: for everything but the answer to the request.

A message may quote the object that it judges. Whoever is refused has sent the object and reads Kyverno's message word
for word; spans, logs, reports and Events are for others, who may not read Secrets. So where text leaves for one of
these, each value of the Secret in it is taken out, encoded or decoded. What a policy makes of a value (a part of it,
its letters in upper case) is not recognised. The same is done for fields of any object that the TracingConfiguration
names (`logs.redact.paths`).
"""

import base64
import binascii
import contextlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.engine import watching
from kymograph.engine.results import PolicyResult, RuleResult
from kymograph.telemetry import fieldpaths, subject
from kymograph.telemetry.credentials import REDACTED
from kymograph.telemetry.recorder import ClientBegin, ClientEnd

_SHORT = 4
"""Characters below which a value is taken out only where it stands as a word: `no` is in every `not`."""

_MOST = 1_000
"""Values that are looked for. Of an object with more, which no Secret for use has, texts are taken out as a whole: to
make 100,000 ready, in all forms, would hold up everybody else's reviews for seconds."""

_USUAL = 1024
"""Characters of a text; made ready for longer ones when there is one."""


Paths: TypeAlias = Sequence[fieldpaths.Path]

Hidden: TypeAlias = Callable[[], Paths]
"""Gives the fields of objects that nobody is told of, as the TracingConfiguration of the moment has them."""


class Redaction:
    """Takes values of one object out of texts.

    Args:
        values: The values.
    """

    def __init__(self, values: Iterable[str]) -> None:
        self._values = tuple(values)
        self._longest = -1
        self._long: list[str] = []
        self._short: re.Pattern[str] | None = None

    def text(self, text: str) -> str:
        """A text without the values."""
        if not text:
            return text
        if len(self._values) > _MOST:
            return REDACTED
        if len(text) > self._longest:
            self._prepare(len(text))
        for value in self._long:
            if value in text:
                text = text.replace(value, REDACTED)
        return text if self._short is None else self._short.sub(REDACTED, text)

    def _prepare(self, longest: int) -> None:
        """Make ready for texts up to a length: megabytes that no text can hold are neither decoded nor looked for."""
        self._longest = max(longest, _USUAL)
        fitting = (value for value in self._values if len(value) * 3 // 4 - 3 <= self._longest)
        forms = {form for value in fitting for form in _forms(value) if form}
        self._long = sorted((each for each in forms if len(each) >= _SHORT), key=len, reverse=True)
        short = sorted((each for each in forms if len(each) < _SHORT), key=len, reverse=True)
        self._short = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, short))})(?!\w)") if short else None

    def results(self, results: Iterable[PolicyResult]) -> tuple[PolicyResult, ...]:
        """Results whose messages and properties are without the values."""
        return tuple(result._replace(rules=tuple(self._result(rule) for rule in result.rules)) for result in results)

    def steps(self, log: Iterable[Sequence[Any]]) -> list[tuple[Any, ...]]:
        """A log of steps (`watching.Entry`) whose details are without the values."""
        return [self._entry(tuple(entry)) for entry in log]

    def _entry(self, entry: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(entry) == watching.POLICY_IN_SHORT:
            return (*entry[:-1], tuple(self._result(rule) for rule in entry[-1]))
        if len(entry) >= watching.RULE_IN_SHORT:
            rule, said, detail, *rest = entry
            if len(entry) == watching.CONDITIONED_RULE_IN_SHORT:
                rest[-1] = self.text(str(rest[-1]))
            return (rule, said, self.text(str(detail)), *rest)
        head, body, now = entry
        if isinstance(head, str):
            return (head, self.text(str(body)), now)
        if isinstance(body, ClientBegin):  # what is asked for may be named after a value
            return (head, body._replace(attributes=self.attributes(body.attributes)), now)
        if isinstance(body, ClientEnd):
            return (head, body._replace(attributes=self.attributes(body.attributes), error=self.text(body.error)), now)
        return entry

    def attributes(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Attributes whose texts are without the values."""
        return {key: self.text(value) if isinstance(value, str) else value for key, value in attributes.items()}

    def _result(self, rule: RuleResult) -> RuleResult:
        error = rule.exception
        if error is not None:
            error = RuntimeError(f"{type(error).__name__}: {self.text(str(error))}").with_traceback(error.__traceback__)
        properties = {key: self.text(value) for key, value in rule.properties.items()}
        return rule._replace(message=self.text(rule.message), properties=properties, exception=error)


def of(request: Mapping[str, Any], paths: Paths = ()) -> Redaction | None:
    """What is to be taken out of texts about a request's object; None for nothing.

    Args:
        request: An AdmissionRequest, its shape checked, or a scan's.
        paths: Which fields of objects nobody is told of, beside the data of Secrets.
    """
    group, kind = request["kind"]["group"], request["kind"]["kind"]
    if not is_looked_for(group, kind, paths):
        return None
    secret = _is_secret(group, kind)
    objects = [held for held in (request.get("object"), request.get("oldObject")) if held]
    values = {value for held in objects for path in paths for value in path.values(held)}
    if secret:
        values.update(value for held in objects for value in _data(held))
    return Redaction(values) if secret or values else None


def is_looked_for(group: str, kind: str, paths: Paths) -> bool:
    """Whether there may be something to take out of texts about objects of a kind."""
    return bool(paths) or _is_secret(group, kind)


def of_object(group: str, kind: str, document: Mapping[str, Any], paths: Paths = ()) -> Redaction | None:
    """The same for an object that no request is about."""
    return of({"kind": {"group": group, "kind": kind}, "object": document}, paths)


@contextlib.contextmanager
def hiding(found: Redaction | None) -> Iterator[None]:
    """Have the work of this task hide this as well, where it comes to an object that was not known before.

    An exception that leaves the block says nothing of it either: its text is changed, for whoever catches it tells it.
    """
    if found is None:
        yield
        return
    around, text = subject.current(), found.text
    with subject.concerning(around._replace(hide=lambda said: text(around.told(said)))):
        try:
            yield
        except Exception as error:
            error.args = tuple(text(each) if isinstance(each, str) else each for each in error.args)
            if isinstance(error, kubernetes_errors.StatusError):
                error.message = text(error.message)
            raise


def unseen(group: str, kind: str, paths: Paths = ()) -> AbstractContextManager[None]:
    """Have the work of this task tell nothing of what others say of an object of a kind, where it may hold a secret.

    For calls about objects that nobody has looked at: a webhook that refuses a delete sees more of them than we do. Of
    an error status its code and reason are told (`subject.Subject.said`); an exception that leaves the block is whole.
    """
    around = subject.current()
    return subject.concerning(around._replace(unseen=around.unseen or is_looked_for(group, kind, paths)))


def told(request: Mapping[str, Any], results: Sequence[PolicyResult], paths: Paths = ()) -> Sequence[PolicyResult]:
    """Results as they may be told of to others than the request's author."""
    hidden = of(request, paths) if results else None
    return results if hidden is None else hidden.results(results)


def _is_secret(group: str, kind: str) -> bool:
    return kind == "Secret" and not group


def _data(secret: Mapping[str, Any]) -> Iterator[str]:
    for field in ("data", "stringData"):
        held = secret.get(field)
        if isinstance(held, Mapping):
            yield from (value for value in held.values() if isinstance(value, str))


def _forms(value: str) -> Iterator[str]:
    """A value as it may stand in a text: as it is written, decoded, encoded; in a string of JSON or YAML; by lines."""
    for form in (value, _decoded(value), base64.b64encode(value.encode(errors="replace")).decode()):
        yield form
        plain = form.isprintable()  # it is one line, and nothing that JSON escapes but what is looked for
        if not plain or '"' in form or "\\" in form:
            yield json.dumps(form, ensure_ascii=False)[1:-1]
        if "'" in form:
            yield form.replace("'", "''")
        yield from (form.strip(),) if plain else map(str.strip, form.splitlines())


def _decoded(value: str) -> str:
    if len(value) % 4:
        return ""
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""
