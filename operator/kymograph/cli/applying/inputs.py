"""What `kymograph apply` is given beside objects: policies, exceptions, values, who asks."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from kymograph.cli import sources
from kymograph.cli.offline import errors, files, policies, resources, userinfo, values
from kymograph.engine import exceptions, fields

_HEADER = ("apiVersion", "kind", "metadata")
_OUTSIDE = frozenset({"configMap", "apiCall", "globalReference", "clone", "cloneList", "targets"})
"""Fields of a policy that make it look at other objects than the one it is applied to."""


@dataclasses.dataclass(frozen=True, slots=True)
class Policies:
    """What the arguments hold.

    Attributes:
        loaded: The policies, with those that cannot be applied.
        excepted: The PolicyExceptions beside them.
    """

    loaded: policies.Loaded
    excepted: Sequence[exceptions.CompiledException]


def read_policies(arguments: Iterable[str], branch: str, *, with_exceptions: bool) -> Policies:
    """Read and compile policies.

    Args:
        arguments: Files, folders, globs, `-`, and URLs of git repositories.
        branch: The branch of repositories.
        with_exceptions: PolicyExceptions among them count.

    Raises:
        InputInvalid: A file is missing or no YAML, or an object is no policy by its structure.
    """
    documents = [document for argument in arguments for document in _documents(argument, branch)]
    beside = [each for each in documents if _kind(each) == "PolicyException"]
    return Policies(policies.load(documents), tuple(policies.exceptions(beside)) if with_exceptions else ())


def read_exceptions(arguments: Iterable[str]) -> list[exceptions.CompiledException]:
    """Read and compile PolicyExceptions.

    Raises:
        InputInvalid: A file is missing, no YAML, or holds what is no valid exception.
    """
    return list(
        policies.exceptions(document for argument in arguments for document in sources.documents(argument, strict=True))
    )


def read_values(name: str, told: Sequence[str]) -> values.Values:
    """Values from a file (`--values-file`) or from `--set KEY=VALUE`.

    Raises:
        InputInvalid: The file is missing or wrong.
    """
    if not name:
        return values.Values(everywhere=_variables(told))
    top, document = _single(name, values.SPEC, "Values")
    found = values.read(top)
    document.raise_if_any(top.problems)
    return found


def read_user(name: str) -> userinfo.UserInfo | None:
    """Who asks, from a file (`--userinfo`), which may lack kind and version; None for nobody in particular.

    Raises:
        InputInvalid: The file is missing or wrong.
    """
    if not name:
        return None
    top, document = _single(name, userinfo.KNOWN, "")
    found = userinfo.read(top)
    document.raise_if_any(top.problems)
    return found


def cluster_scoped(arguments: Iterable[str]) -> frozenset[tuple[str, str]]:
    """(group, kind) of the kinds without a namespace: Kubernetes' own and those of CustomResourceDefinitions.

    Args:
        arguments: Files, folders or globs of CustomResourceDefinitions (`--crd-paths`); what else they hold is
            passed over.

    Raises:
        InputInvalid: A file is missing or no YAML.
    """
    definitions = (document.value for argument in arguments for document in sources.documents(argument))
    return resources.CLUSTER_SCOPED | resources.custom_cluster_scoped(definitions)


def looks_outside(document: Any) -> bool:
    """Whether a policy may look at other objects than the one it is applied to."""
    if isinstance(document, dict):
        return not _OUTSIDE.isdisjoint(document) or any(map(looks_outside, document.values()))
    return isinstance(document, list) and any(map(looks_outside, document))


def _documents(argument: str, branch: str) -> Iterator[files.Document]:
    repository = sources.repository(argument, branch)
    if repository is None:
        yield from sources.documents(argument, strict=True)
        return
    with repository as folder:
        yield from _below(folder, argument if sources.is_url(argument) else pathlib.Path(argument).resolve().as_uri())


def _below(folder: pathlib.Path, shown: str) -> Iterator[files.Document]:
    """The documents of a clone; files that are no YAML are no policies, and are passed over as in Kyverno."""
    for path in sources.expand(str(folder), (".yaml", ".yml")):
        with contextlib.suppress(errors.InputInvalid):
            yield from files.read(path, f"{shown.rstrip('/')}/{path.relative_to(folder)}", strict=True)


def _kind(document: files.Document) -> Any:
    return document.value.get("kind") if isinstance(document.value, dict) else None


def _single(name: str, known: Sequence[str], kind: str) -> tuple[fields.Fields, files.Document]:
    documents = files.read(pathlib.Path(name), strict=True)
    if not documents:
        raise errors.InputInvalid((errors.InputProblem(name, 0, "", "holds no document"),))
    document = documents[0]
    everything = (*_HEADER, *known)
    top = fields.Fields(files.folded(document.value, everything), "", fields.Problems(), everything)
    for field, wanted in (("apiVersion", "cli.kyverno.io/v1alpha1"), ("kind", kind)):
        if not top.text(field) and kind:
            top.wrong(field, f"is required: {wanted}")
    return top, document


def _variables(told: Sequence[str]) -> dict[str, str]:
    """`--set` as Kyverno reads it: the first word on a key counts, and the object itself cannot be changed."""
    found: dict[str, str] = {}
    for each in told:
        key, _, value = (part.strip() for part in each.partition("="))
        if key and value and "=" not in value and "request.object." not in key:
            found.setdefault(key, value)
    return found
