"""What one process does with a part of a file: read its objects, apply the policies, write down what is to be said."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from kymograph.apimachinery import yamls, yamlwriting
from kymograph.cli.applying import counting, messages, reports, stream
from kymograph.cli.offline import answers, errors, files, globalentries, judge, resources
from kymograph.engine import exceptions, policy

TEXT, TABLE, REPORT, EXCEPTIONS = "text", "table", "report", "exceptions"


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """What is to be done with every object.

    Attributes:
        policies: The policies, in order.
        excepted: The PolicyExceptions.
        world: What stands in for the cluster.
        output: What is wanted: `text`, `table`, `report` or `exceptions`.
        audit_warn: Failures of Audit policies are warnings.
        piped: Of changed objects, write nothing but the objects.
        to_files: Changed objects go to files, not to the output.
        as_json: Reports and exceptions are written as JSON.
        ttl: How long exceptions live.
        keep_going: An object that cannot be evaluated does not stop the others.
        cluster_scoped: (group, kind) of the kinds without a namespace.
    """

    policies: Sequence[policy.CompiledPolicy]
    excepted: Sequence[exceptions.CompiledException]
    world: answers.Answers
    output: str = TEXT
    audit_warn: bool = False
    piped: bool = False
    to_files: bool = False
    as_json: bool = False
    ttl: str = ""
    keep_going: bool = False
    cluster_scoped: frozenset[tuple[str, str]] = resources.CLUSTER_SCOPED


class Row(NamedTuple):
    """A row of the table: policy, rule, object, result and message."""

    policy: str
    rule: str
    resource: str
    result: str
    message: str


class Done(NamedTuple):
    """What came of a part.

    Attributes:
        objects: How many objects there were.
        counts: What their results add up to.
        changes: What is said of changed and generated objects.
        violations: What is said of failures.
        rows: Rows of the table.
        reported: Entries of reports, written: (key of the report, text, counts).
        files: Changed and generated objects: (name of the file without suffix, YAML).
        skipped: Why objects were passed over.
    """

    objects: int
    counts: counting.Counts
    changes: str
    violations: str
    rows: list[Row]
    reported: list[tuple[str, str, counting.Counts]]
    files: list[tuple[str, str]]
    skipped: list[str]


class Worker:
    """Handles parts, one after the other, for the same task."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._judge = judge.Judge(task.policies, task.world, task.excepted)
        self._reader = yamls.Reader()

    def handle(self, part: stream.Part) -> Done:
        """Handle a part of a file.

        Raises:
            InputInvalid: It is no YAML, or holds what is no object.
        """
        return self.apply(loaded(part, self._reader, self._task.cluster_scoped))

    def apply(self, objects: Iterator[dict[str, Any]] | Sequence[dict[str, Any]]) -> Done:
        """Apply the policies to prepared objects."""
        record = _Record(self._task)
        for resource in objects:
            record.count += 1
            try:
                judged = self._judge.judge(resource)
            except errors.InputInvalid as invalid:
                if not self._task.keep_going:
                    raise
                record.skipped.append(str(invalid))
                continue
            for response in judged.responses:
                record.add(response)
        return record.done()


def loaded(
    part: stream.Part, reader: yamls.Reader, cluster_scoped: frozenset[tuple[str, str]]
) -> Iterator[dict[str, Any]]:
    """The objects of a part that policies are applied to, prepared: all but GlobalContextEntries.

    Raises:
        InputInvalid: It is no YAML, or holds what is no object.
    """
    for document in documents(part, reader):
        if not globalentries.is_entry(document.value):
            yield resources.prepare(document.value, cluster_scoped)


def documents(part: stream.Part, reader: yamls.Reader) -> Iterator[files.Document]:
    """The objects of a part, Lists taken apart.

    Raises:
        InputInvalid: It is no YAML, or holds what is no object.
    """
    try:
        for line, text, around, value in _values(part, reader):
            for within, resource in yamls.objects(value, around):
                document = files.Document(part.file, resource, yamls.Loaded(resource, part.file, line, text, within))
                wrong = resources.problems(resource)
                if wrong:
                    raise errors.InputInvalid(tuple(document.problem(*problem) for problem in wrong))
                yield document
    except yamls.YAMLInvalid as invalid:
        reason = f"column {invalid.column}: {invalid.reason}"
        raise errors.InputInvalid((errors.InputProblem(invalid.file, invalid.line, "", reason),)) from invalid


def _values(part: stream.Part, reader: yamls.Reader) -> Iterator[tuple[int, str, str, Any]]:
    """The values of a part: the line and the text of the document that each is in, its path there, and the value."""
    if part.form == stream.DOCUMENTS:
        for line, text in yamls.documents(part.text, part.file):
            at = part.line + line - 1
            for value in reader.values(text, part.file, at):
                yield at, text, "", value
    elif part.form == stream.LINES:
        for line, text in enumerate(part.text.split("\n"), part.line):
            for value in reader.values(text, part.file, line):
                yield line, text, "", value
    else:
        for values in reader.values(part.text, part.file, part.line):
            for index, value in enumerate(values) if isinstance(values, list) else [(0, values)]:
                yield part.line, part.text, f"[{index}]", value


class _Record:
    """What is to be said of the objects so far."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self.count = 0
        self.skipped: list[str] = []
        self._counts = [0] * len(counting.STATUSES)
        self._changes: list[str] = []
        self._violations: list[str] = []
        self._rows: list[Row] = []
        self._entries: dict[str, list[Mapping[str, Any]]] = {}
        self._exceptions: list[str] = []
        self._files: list[tuple[str, str]] = []

    def add(self, response: judge.Response) -> None:
        task = self._task
        if response.type != judge.VALIDATE:
            self._change(response)
        if not response.results:
            return
        for result, reason in zip(response.results, response.unmade, strict=False):
            if reason:
                path = messages.path_of(response)
                self.skipped.append(
                    f"policy {response.policy.name} -> resource {path}: {result.rule.name} generates nothing: {reason}"
                )
        softened = task.audit_warn and counting.softens(response, task.world)
        counting.add(self._counts, response, softened=softened)
        if task.output == TEXT:
            self._violations.append(messages.violations(response, softened=softened))
        elif task.output == TABLE:
            path = "/".join(part for part in messages.path_of(response).split("/") if part)
            for each in response.results:
                status = counting.shown(response.policy, each.status, softened=softened)
                self._rows.append(Row(messages.key_of(response.policy), each.rule.name, path, status, each.message))
        else:
            entries = reports.rows(response, softened=softened, seconds=task.world.now // 1_000_000_000)
            if task.output == REPORT:
                self._entries.setdefault(reports.key_of(response), []).extend(entries)
                return
            for made in reports.exceptions(response, entries, task.ttl):
                text = orjson.dumps(made).decode() if task.as_json else yamlwriting.dump(made)
                self._exceptions.append(f"---\n{text}\n")

    def _change(self, response: judge.Response) -> None:
        if self._task.to_files:
            metadata = response.resource.get("metadata") or {}
            generated = response.type == judge.GENERATE
            name = f"{response.policy.name}-generated" if generated else f"{metadata.get('name') or ''}-mutated"
            for text in messages.objects(response):
                self._files += [(name, text), *((name, yamlwriting.dump(each.resource)) for each in response.targets)]
                self._changes.append(messages.notice(response))
        elif self._task.output in (TEXT, TABLE):
            self._changes.append(messages.changes(response, piped=self._task.piped))

    def done(self) -> Done:
        reported = [
            (key, reports.written_rows(entries, as_json=self._task.as_json), reports.summarised(entries))
            for key, entries in self._entries.items()
        ]
        return Done(
            self.count,
            counting.Counts(*self._counts),
            "".join(self._changes),
            "".join(self._violations) + "".join(self._exceptions),
            self._rows,
            reported,
            self._files,
            self.skipped,
        )
