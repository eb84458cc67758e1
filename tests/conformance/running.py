"""One case from its namespace to its clean-up, and what came of it.

A case runs in a copy of its folder, with its scripts executable, in a namespace of its own unless it names one. After
it everything that it created is deleted, one after the other and the newest first, as chainsaw does; policies that are
left over go too: what one case leaves must not decide another.
"""

import contextlib
import dataclasses
import pathlib
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping

from conformance import api, cases, expressions, operations, outside, scopes
from kymograph.localcluster import errors

_POLICIES = (
    ("kyverno.io/v1", "ClusterPolicy"),
    ("kyverno.io/v1", "Policy"),
    ("kyverno.io/v2", "PolicyException"),
    ("kyverno.io/v2", "ClusterCleanupPolicy"),
    ("kyverno.io/v2", "CleanupPolicy"),
    ("kyverno.io/v2alpha1", "GlobalContextEntry"),
)

_CLEANUP = 30.0
"""Seconds that an object has to go after its case: chainsaw's."""


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What came of a case.

    Attributes:
        path: The case.
        status: `passed`, `failed` or `skipped`.
        reason: The step and why, where it failed.
        seconds: How long it took.
    """

    path: str
    status: str
    reason: str
    seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class Runner:
    """Runs cases against one API server, one after another.

    Attributes:
        objects: The API server.
        environ: What scripts find in their environment: KUBECONFIG, PATH.
        limit: Seconds that no assertion waits longer than, whatever its case says.
    """

    objects: api.Objects
    environ: Mapping[str, str]
    limit: float = 30.0

    def run(self, manifest: pathlib.Path, root: pathlib.Path) -> Result:
        """Run the case of a manifest under a root."""
        started = time.monotonic()
        path, status, reason = str(manifest.parent.relative_to(root)), "passed", ""
        with tempfile.TemporaryDirectory(prefix="conformance-") as directory:
            try:
                if (skipped := left_out(manifest, root)) is not None:
                    return skipped
                case = cases.read(manifest, root)
                folder = _copied(case.folder, pathlib.Path(directory) / "case")
                self._run(dataclasses.replace(cases.read(folder / cases.MANIFEST, folder), timeouts=case.timeouts))
            except (scopes.OperationFailed, cases.CaseInvalid, expressions.ExpressionFailed) as error:
                status, reason = "failed", str(error)
            except errors.RequestRefused as refused:
                status, reason = "failed", f"the API server refused: {refused}"
        return Result(path, status, reason, time.monotonic() - started)

    def _run(self, case: cases.Case) -> None:
        with self._namespace(case) as namespace:
            world = scopes.World(self.objects, case.folder, namespace, self.environ, self.limit, [])
            bindings = {
                "namespace": namespace,
                "test": {"metadata": {"name": case.name}},
                "values": {},
            }
            bindings = cases.bound(case.document["spec"].get("bindings", ()), bindings)
            done: list[tuple[cases.Step, scopes.Scope]] = []
            try:
                for step in case.steps:
                    inside = cases.bound(step.bindings, bindings)
                    scope = scopes.Scope(world, inside, {**case.timeouts, **step.timeouts})
                    done.append((step, scope))
                    self._step(step, scope, case.document["spec"].get("catch", ()))
            finally:
                self._clean(world, done)

    def _step(self, step: cases.Step, scope: scopes.Scope, catch: list[cases.Operation]) -> None:
        known = dict(scope.bindings)
        try:
            for operation in step.operations["try"]:
                known.update(operations.run(operation, dataclasses.replace(scope, bindings=known)))
        except scopes.OperationFailed as failed:
            _run_all([*step.operations["catch"], *catch], scope)
            raise scopes.OperationFailed(f"{step.name}: {failed}") from failed
        finally:
            _run_all(step.operations["finally"], scope)

    @contextlib.contextmanager
    def _namespace(self, case: cases.Case) -> Iterator[str]:
        name = case.namespace or f"case-{uuid.uuid4().hex[:10]}"
        document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        made = None
        if self.objects.get("v1", "Namespace", None, name) is None:
            made = self.objects.create(document)
        try:
            yield name
        finally:
            if made is not None:
                operations.delete(self.objects, {**document, **made})

    def _clean(self, world: scopes.World, done: list[tuple[cases.Step, scopes.Scope]]) -> None:
        for step, scope in reversed(done):
            _run_all(step.operations["cleanup"], scope)
        for each in reversed(world.created):
            self._delete(each)
        for api_version, kind in _POLICIES:
            with contextlib.suppress(api.KindUnknown):
                for each in self.objects.list(api_version, kind, None, {}):
                    self._delete(each)

    def _delete(self, stored: api.Object) -> None:
        """Delete an object and wait until it is gone: the next case may use its name."""
        with contextlib.suppress(errors.RequestRefused, api.KindUnknown):  # the next case may say why
            operations.delete(self.objects, stored)
            operations.wait_gone(self.objects, stored, _CLEANUP)


def left_out(manifest: pathlib.Path, root: pathlib.Path) -> Result | None:
    """The result of a case that is not run: it says so itself, or is about what is not built; None for any other."""
    try:
        case = cases.read(manifest, root)
    except cases.CaseInvalid:
        return None  # running it tells why
    reason = "its own `skip`" if case.skipped else outside.reason(case.folder)
    return Result(case.path, "skipped", reason, 0.0) if reason else None


def _run_all(written: list[cases.Operation], scope: scopes.Scope) -> None:
    """Run operations of which none may stop the others."""
    for operation in written:
        with contextlib.suppress(scopes.OperationFailed):
            operations.run(operation, scope)


def _copied(folder: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
    """A copy of a case's files that may be written to, whose scripts may be executed."""
    shutil.copytree(folder, target, copy_function=shutil.copyfile)
    for path in target.rglob("*"):
        path.chmod(path.stat().st_mode | stat.S_IRWXU)
    target.chmod(stat.S_IRWXU)
    return target
