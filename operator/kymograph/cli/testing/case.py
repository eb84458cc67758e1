"""One test, loaded: its policies, its resources and what stands in for the cluster, all relative to its file."""

import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from kymograph.cli.offline import answers, errors, files, judge, mocks, policies, resources, simulated, userinfo, values
from kymograph.cli.testing import checking, manifest, tracing
from kymograph.engine import errors as engine_errors
from kymograph.engine import fields, needs, policy

_HEADER = ("apiVersion", "kind", "metadata")
_IMAGE = (
    "image",
    "resolvedImage",
    "registry",
    "repository",
    "tag",
    "digest",
    "imageIndex",
    "manifest",
    "config",
)
_PAYLOADS = ("jsonPayloads", "httpPayloads", "envoyPayloads")


class Case:
    """A test, ready to be run.

    Args:
        described: What the test says.
        document: The document of its file that says so.
        path: The file.
        now: The time of the evaluation, in nanoseconds since 1970.
        images: Looks up an image in its registry; None where none may be asked.

    Attributes:
        manifest: What the test says.
        file: The file, as it is shown.
        notes: What is odd about it, line by line.
        refused: The policies that cannot be applied.
        world: What stands in for the cluster.
        policies: The policies that can be applied.
        exceptions: The PolicyExceptions.
        resources: The resources, by key, in the order of the files.
        targets: The target resources, by key.
        payloads: The names of payloads that are no Kubernetes objects.

    Raises:
        InputInvalid: A file of the test is missing or wrong.
    """

    def __init__(
        self,
        described: manifest.Manifest,
        document: files.Document,
        path: pathlib.Path,
        now: int,
        images: Callable[[needs.ImageData], Any] | None = None,
    ) -> None:
        self.manifest = described
        self.file = document.file
        self.notes: list[str] = []
        self._document = document
        self._folder = path.parent
        self._shown = pathlib.PurePath(document.file).parent
        self._prepared: dict[str, list[dict[str, Any]]] = {}
        self._cluster_scoped = resources.CLUSTER_SCOPED
        loaded = policies.load(self._policy_documents())
        self._compiled = loaded.compiled
        self.policies: tuple[policy.CompiledPolicy, ...] = tuple(each for each, _ in loaded.compiled)
        self.refused = loaded.refused
        self.notes += [f"WARNING: {each}" for each in loaded.strange]
        self.exceptions = tuple(policies.exceptions(self._documents("exceptions")))
        cluster = self._cluster_documents()
        self.resources = self._unique(self._listed("resources"))
        self.targets = self._unique(self._listed("targetResources"))
        self.payloads = tuple(name for field in _PAYLOADS for name in self.manifest.files[field])
        self.world = self._world(cluster, now)._replace(images=images)
        self._check_context()
        count = len(self.policies) + len(self.refused)
        self.notes.append(
            f"Applying {count} {'policy' if count == 1 else 'policies'} to {len(self.resources)} "
            f"{'resource' if len(self.resources) == 1 else 'resources'} with {len(self.exceptions)} "
            f"{'exception' if len(self.exceptions) == 1 else 'exceptions'} ..."
        )

    def refuse_deprecated(self) -> None:
        """Give up where a policy uses what is deprecated.

        Raises:
            InputInvalid: With all of it.
        """
        policies.refuse_deprecated(document for _, document in self._compiled)

    def line_of(self, path: str) -> int:
        """The line of a field of the test."""
        return self._document.line_of(path)

    def objects(self, name: str) -> list[dict[str, Any]]:
        """The objects in a file of the test, prepared.

        Args:
            name: The file, relative to the test.

        Raises:
            InputInvalid: The file is missing or wrong.
        """
        if name not in self._prepared:
            documents = self._read(name)
            wrong = [each.problem(*problem) for each in documents for problem in resources.problems(each.value)]
            if wrong:
                raise errors.InputInvalid(tuple(wrong))
            self._prepared[name] = [resources.prepare(each.value, self._cluster_scoped) for each in documents]
        return self._prepared[name]

    def sources(self, expectations: Iterable[manifest.Expected]) -> dict[str, list[dict[str, Any]]]:
        """What generate rules may clone: the objects in `cloneSourceResource`, by the key of the policy.

        Args:
            expectations: Entries of the test.
        """
        found: dict[str, list[dict[str, Any]]] = {}
        for each in expectations:
            if each.clone_source:
                found.setdefault(each.policy, []).extend(self.objects(each.clone_source))
        return found

    def _read(self, name: str, *, strict: bool = False) -> list[files.Document]:
        """The documents of a file; `strict` refuses a key that a map sets twice, as Kyverno does except in objects."""
        return files.read(self._folder / name, os.path.normpath(self._shown / name), strict=strict)

    def _policy_documents(self) -> Iterable[files.Document]:
        for name in self.manifest.files["policies"]:
            for path in policies.paths(self._folder / name):
                below = path.relative_to(self._folder / name)
                yield from files.read(path, os.path.normpath(self._shown / name / below), strict=True)

    def _documents(self, field: str) -> Iterable[files.Document]:
        for name in self.manifest.files[field]:
            yield from self._read(name, strict=True)

    def _listed(self, field: str) -> list[dict[str, Any]]:
        """The objects in the files of a field; the first of them may be a folder.

        A file that is missing spoils the test if it is the first one; Kyverno goes on without the others.
        """
        names = list(self.manifest.files[field])
        if names and (self._folder / names[0]).is_dir():
            entries = sorted((self._folder / names[0]).iterdir())
            names = [f"{names[0]}/{entry.name}" for entry in entries if entry.suffix in (".yaml", ".yml")]
        found = []
        for index, name in enumerate(names):
            if index and not (self._folder / name).exists():
                self.notes.append(f"WARNING: {self.file}: {field}[{index}]: {name} cannot be read and is left out")
                continue
            found += self.objects(name)
        return found

    def _unique(self, objects: Iterable[dict[str, Any]]) -> dict[resources.Key, dict[str, Any]]:
        """Objects by key; of those that differ in the version only, the first counts."""
        found: dict[tuple[str, ...], dict[str, Any]] = {}
        for each in objects:
            key = resources.key_of(each)
            same = (key.api_version.rpartition("/")[0], *key[1:])
            if same in found:
                self.notes.append(f"WARNING: found duplicated resource {key.kind} {key.name} {key.namespace}")
            found.setdefault(same, each)
        return {resources.key_of(each): each for each in found.values()}

    def _cluster_documents(self) -> list[Mapping[str, Any]] | None:
        """The objects of `clusterResources`; None where there are none."""
        names = self.manifest.files["clusterResources"]
        found: list[Mapping[str, Any]] = []
        for name in names:
            for document in self._read(name, strict=True):
                problems = fields.Problems()
                top = fields.Fields(document.value, "", problems, (*_HEADER, "spec"))
                spec = fields.Fields(top.raw("spec"), "spec", problems, ("crds", "resources"))
                definitions = spec.texts("crds")
                objects = spec.items("resources")
                for entry, path in objects:
                    for field, reason in resources.problems(entry):
                        problems.add(f"{path}.{field}" if field else path, reason)
                document.raise_if_any(problems)
                found += [each.value for crd in definitions for each in self._read(crd)]
                found += [resources.prepare(entry) for entry, _ in objects]
        self._cluster_scoped |= resources.custom_cluster_scoped(found)
        return found if names else None

    def _world(self, cluster: Sequence[Mapping[str, Any]] | None, now: int) -> answers.Answers:
        existing = [*self.resources.values(), *self.targets.values(), *self._listed("paramResources")]
        known = None if cluster is None else simulated.Cluster([*existing, *cluster])
        return answers.Answers(
            told=self._values(),
            user=self._user(),
            cluster=known,
            calls=self.manifest.calls,
            global_entries={each.name: self._held(each) for each in self.manifest.global_entries} or None,
            objects=existing,
            now=now,
        )

    def _values(self) -> values.Values:
        if self.manifest.values is not None:
            return self.manifest.values
        top, document = self._single(self.manifest.values_file, values.SPEC, "Values")
        if top is None or document is None:
            return values.Values()
        found = values.read(top)
        document.raise_if_any(top.problems)
        return found

    def _user(self) -> userinfo.UserInfo | None:
        top, document = self._single(self.manifest.user_file, userinfo.KNOWN, "UserInfo")
        if top is None or document is None:
            return None
        found = userinfo.read(top)
        document.raise_if_any(top.problems)
        return found

    def _check_context(self) -> None:
        """Read what the libraries of CEL would see: policies with CEL are refused, but a wrong file is wrong."""
        top, document = self._single(self.manifest.context_file, ("spec",), "Context")
        if top is None or document is None:
            return
        spec = fields.Fields(top.raw("spec"), "spec", top.problems, ("resources", "images"))
        for entry, path in spec.items("resources"):
            for field, reason in resources.problems(entry):
                top.problems.add(f"{path}.{field}" if field else path, reason)
        for entry, path in spec.items("images"):
            fields.Fields(entry, path, top.problems, _IMAGE)
        document.raise_if_any(top.problems)

    def _single(self, name: str, known: Sequence[str], kind: str) -> tuple[fields.Fields | None, files.Document | None]:
        """The first document of a file whose kind is ours, opened for reading; None for no file."""
        if not name:
            return None, None
        documents = self._read(name, strict=True)
        if not documents:
            raise errors.InputInvalid((errors.InputProblem(str(self._shown / name), 0, "", "holds no document"),))
        document = documents[0]
        everything = (*_HEADER, *known)
        top = fields.Fields(files.folded(document.value, everything), "", fields.Problems(), everything)
        for field, wanted in (("apiVersion", "cli.kyverno.io/v1alpha1"), ("kind", kind)):
            if not top.text(field):
                top.wrong(field, f"is required: {wanted}")
        return top, document

    def _held(self, entry: mocks.GlobalEntry) -> Any:
        held = entry.data
        if entry.files is not None:
            held = [each.value for name in entry.files for each in self._read(name, strict=True)]
        try:
            return entry.value(held)
        except engine_errors.EvaluationError as error:
            raise errors.InputInvalid((self._document.problem(entry.path, str(error)),)) from error


class Evaluation(NamedTuple):
    """What the policies of a test made of its resources (`checking.Evaluated`)."""

    case: Case
    bench: judge.Judge
    traced: bool
    responses: checking.Responses
    by_operation: Mapping[str, checking.Responses]
    targets: checking.Targets

    @property
    def refused(self) -> Sequence[policies.Refused]:
        """The policies that were not applied."""
        return self.case.refused

    def objects(self, name: str) -> list[dict[str, Any]]:
        """The objects in a file of the test."""
        return self.case.objects(name)

    def line_of(self, path: str) -> int:
        """The line of a field of the test."""
        return self.case.line_of(path)

    def trace(self, each: policy.CompiledPolicy, rule: str, key: resources.Key, operation: str) -> str:
        """How a policy was evaluated on a resource; empty where nobody wants to know."""
        return tracing.trace(self.bench, each, self.case.resources[key], operation, rule) if self.traced else ""


def evaluate(case: Case, expectations: Iterable[manifest.Expected], *, traced: bool = False) -> Evaluation:
    """Apply the policies of a test to its resources.

    Args:
        case: The test.
        expectations: The entries that will be checked: they say which operations to simulate.
        traced: Say how policies were evaluated, where asked.
    """
    operations = sorted({each.operation for each in expectations if each.operation})
    bench = judge.Judge(case.policies, case.world, case.exceptions, case.sources(expectations))
    payloads: dict[resources.Key, Sequence[judge.Response]] = {
        resources.Key("", "", "", name): () for name in case.payloads
    }

    def run(operation: str) -> checking.Responses:
        judged = {key: bench.judge(each, operation).responses for key, each in case.resources.items()}
        return {**judged, **payloads}

    responses = run("")
    by_operation = {operation: run(operation) for operation in operations}
    targets: dict[resources.Key, list[tuple[judge.Response, judge.Patched]]] = {}
    for table in (responses, *by_operation.values()):
        for response in (response for several in table.values() for response in several):
            seen = set()
            for patched in response.targets:
                key = resources.key_of(patched.resource)
                if key in case.targets and key not in seen:  # of one response the first change of an object counts
                    targets.setdefault(key, []).append((response, patched))
                    seen.add(key)
    return Evaluation(case, bench, traced, responses, by_operation, targets)
