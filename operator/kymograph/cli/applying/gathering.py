"""Where the objects come from, and what of them stands in for the cluster.

Files are read as a stream, unless a policy may look at other objects than the one it is applied to (ConfigMaps, API
calls, sources of clones, targets), or exceptions are among them: then they are all kept, as Kyverno always does.
"""

import contextlib
import pathlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from kymograph.apimachinery import gvk, yamls
from kymograph.cli import sources
from kymograph.cli.applying import inputs, stream, work
from kymograph.cli.offline import answers, errors, files, globalentries, policies, resources, simulated
from kymograph.engine import exceptions, policy


class Objects(NamedTuple):
    """The objects to apply policies to.

    Attributes:
        parts: The objects, to be read once.
        size: How many bytes they have; 0 where that is not known.
        cluster: What stands in for the cluster; None for nothing.
        existing: The objects, prepared, that rules with targets may change.
        excepted: The PolicyExceptions among them, if these count.
        global_entries: What the GlobalContextEntries among them hold; None where there are none.
    """

    parts: Iterable[stream.Part]
    size: int
    cluster: simulated.Cluster | None = None
    existing: Sequence[dict[str, Any]] = ()
    excepted: Sequence[exceptions.CompiledException] = ()
    global_entries: Mapping[str, answers.Collected] | None = None


class _Files(simulated.Cluster):
    """The objects in the files; of a ConfigMap that is not among them nothing is known, so that values count.

    Labels of namespaces come from values alone, whether or not policies look at other objects.
    """

    def config_map(self, namespace: str, name: str) -> dict[str, Any]:
        try:
            return super().config_map(namespace, name)
        except simulated.NotThere as reason:
            raise simulated.NothingSaid(str(reason)) from reason

    def namespace_labels(self, name: str) -> Mapping[str, str]:  # noqa: ARG002 - the signature of every cluster
        return {}


def from_files(
    arguments: Iterable[str],
    targets: Iterable[str],
    compiled: Iterable[policy.CompiledPolicy],
    *,
    with_exceptions: bool,
    cluster_scoped: frozenset[tuple[str, str]] = resources.CLUSTER_SCOPED,
) -> Objects:
    """Objects from files.

    Args:
        arguments: Files, folders, globs, or `-`.
        targets: Files with what rules for existing objects may change.
        compiled: The policies.
        with_exceptions: PolicyExceptions among the objects count.
        cluster_scoped: (group, kind) of the kinds without a namespace.

    Raises:
        InputInvalid: A file is missing, or cannot be used where it is read at once.
    """
    names = [name for argument in arguments for name in _names(argument)]
    size = sum(path.stat().st_size for path, _ in names if path is not None)
    outside = any(inputs.looks_outside(each.document) for each in compiled)
    if not outside and not with_exceptions:
        return Objects(_parts(names), size)
    parts = list(_parts(names))
    held = [document for part in parts for document in work.documents(part, yamls.Reader())]
    entries = [each for each in held if globalentries.is_entry(each.value)]
    beside = (part for argument in targets for part in _parts(_names(argument)))
    existing = [document for part in beside for document in work.documents(part, yamls.Reader())]
    everything = [
        resources.prepare(each.value, cluster_scoped)
        for each in (*held, *existing)
        if not globalentries.is_entry(each.value)
    ]
    cluster = _Files(everything) if outside else None
    collected = globalentries.collect(entries, cluster) if entries and cluster is not None else None
    return Objects(parts, size, cluster, everything, _exceptions(held) if with_exceptions else (), collected)


def _names(argument: str) -> list[tuple[pathlib.Path | None, str]]:
    """The files behind an argument with the names they are shown under; None is standard input."""
    if argument == sources.STDIN:
        return [(None, "<stdin>")]
    return [(path, str(path)) for path in sources.expand(argument)]


def _parts(names: Iterable[tuple[pathlib.Path | None, str]]) -> Iterator[stream.Part]:
    for path, name in names:
        try:
            with contextlib.ExitStack() as stack:
                file = sys.stdin.buffer if path is None else stack.enter_context(path.open("rb"))
                yield from stream.parts(file, name)
        except OSError as error:
            reason = f"cannot be read: {error.strerror or error}"
            raise errors.InputInvalid((errors.InputProblem(name, 0, "", reason),)) from error
        except yamls.YAMLInvalid as invalid:
            problem = errors.InputProblem(name, invalid.line, "", invalid.reason)
            raise errors.InputInvalid((problem,)) from invalid


def _exceptions(held: Iterable[files.Document]) -> list[exceptions.CompiledException]:
    found = []
    for each in held:
        group, _ = gvk.split_api_version(each.value["apiVersion"])
        if (group, each.value["kind"]) == (exceptions.GROUP, exceptions.KIND):
            found.append(each)
    return list(policies.exceptions(found))
