"""From the data of the ConfigMap to what it says, and to everything that is wrong with it. Pure.

An entry that cannot be read is named, and what it said before goes on; where nothing was read before it counts as if it
were not there, so that a mistake lets nothing pass that policies forbid. Keys and forms are Kyverno's (`pkg/config`,
v1.19); what Kyverno would send on to the API server, which takes or refuses a webhook configuration as a whole, is
checked here first.
"""

import dataclasses
import difflib
import itertools
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import orjson

from kymograph.apimachinery import imageref, labels, quantity, wildcard
from kymograph.controllers import updaterequests
from kymograph.controllers.configuration import exclusions as excluding
from kymograph.controllers.configuration import filters as filtering
from kymograph.controllers.events import notes
from kymograph.engine import needs

_T = TypeVar("_T")

_FIELDS = (
    "defaultRegistry",
    "enableDefaultRegistryMutation",
    "excludeClusterRoles",
    "excludeGroups",
    "excludeRoles",
    "excludeUsernames",
    "generateSuccessEvents",
    "matchConditions",
    "maxContextSize",
    "resourceFilters",
    "successEventActions",
    "updateRequestThreshold",
    "webhookAnnotations",
    "webhookLabels",
    "webhooks",
)

_SUCCESSES = (notes.Action.MUTATED, notes.Action.PASSED, notes.Action.GENERATED, notes.Action.CLEANED_UP)
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")
_ANNOTATION = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_REGISTRY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}(?:\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*[._]?")
_REGISTRY_PATH = re.compile(r"(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*")
_ADDRESS = re.compile(r"[0-9.]+")


class Problem(NamedTuple):
    """What is wrong with an entry.

    Attributes:
        field: The key of the entry.
        reason: Why it does not count.
    """

    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


@dataclasses.dataclass(frozen=True, slots=True)
class Configuration:
    """What the ConfigMap says.

    Attributes:
        filters: Objects that policies are not for.
        exclusions: Users that they are not for.
        namespace_selector: Which namespaces' objects webhooks ask about; empty for all.
        object_selector: Which objects they ask about; empty for all.
        match_conditions: What API servers evaluate before they ask.
        webhook_annotations: Annotations of webhook configurations.
        webhook_labels: Labels of them.
        success_events: Whether there are Events of what passed; None where that is not said.
        success_actions: The actions of those there are; empty for all.
        installation: What evaluations are told: whose images are that name no registry, how much contexts may load.
        most_update_requests: UpdateRequests that there may be at once.
    """

    filters: filtering.Filters = dataclasses.field(default_factory=filtering.Filters)
    exclusions: excluding.Exclusions = dataclasses.field(default_factory=excluding.Exclusions)
    namespace_selector: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    object_selector: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    match_conditions: tuple[Mapping[str, str], ...] = ()
    webhook_annotations: Mapping[str, str] = dataclasses.field(default_factory=dict)
    webhook_labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    success_events: bool | None = None
    success_actions: frozenset[str] = frozenset()
    installation: needs.Installation = needs.STANDARD
    most_update_requests: int = updaterequests.MOST


NOTHING = Configuration()
"""What counts where there is no ConfigMap: policies are for everybody and everything."""


def read(data: Mapping[str, str], before: Configuration = NOTHING) -> tuple[Configuration, tuple[Problem, ...]]:
    """Read the data of the ConfigMap.

    Args:
        data: The data.
        before: What was read last.

    Returns:
        What it says, and what is wrong with it.
    """
    return _Reader(data, before).read()


class _Reader:
    def __init__(self, data: Mapping[str, str], before: Configuration) -> None:
        self._data = data
        self._before = before
        self._problems: list[Problem] = []

    def read(self) -> tuple[Configuration, tuple[Problem, ...]]:
        found, wrong = filtering.parse(self._data.get("resourceFilters", ""))
        self._problems += [Problem("resourceFilters", reason) for reason in wrong]
        before, nothing = self._before, NOTHING
        selected = (before.namespace_selector, before.object_selector)
        namespaces, objects = self._parsed("webhooks", _selectors, ({}, {}), selected)
        configuration = Configuration(
            filters=filtering.Filters(found),
            exclusions=excluding.Exclusions(
                *(
                    excluding.parse(self._data.get(field, ""))
                    for field in ("excludeUsernames", "excludeGroups", "excludeRoles", "excludeClusterRoles")
                )
            ),
            namespace_selector=namespaces,
            object_selector=objects,
            match_conditions=self._parsed("matchConditions", _conditions, (), before.match_conditions),
            webhook_annotations=self._parsed("webhookAnnotations", _annotations, {}, before.webhook_annotations),
            webhook_labels=self._parsed("webhookLabels", _labels, {}, before.webhook_labels),
            success_events=self._parsed("generateSuccessEvents", _boolean, None, before.success_events),
            success_actions=self._parsed("successEventActions", _actions, frozenset(), before.success_actions),
            installation=self._installation(before.installation, nothing.installation),
            most_update_requests=self._parsed(
                "updateRequestThreshold", _count, nothing.most_update_requests, before.most_update_requests
            ),
        )
        for field in sorted(set(self._data) - set(_FIELDS)):
            near = difflib.get_close_matches(field, _FIELDS, n=1)
            self._problems.append(Problem(field, f"unknown entry{f'; did you mean {near[0]!r}?' if near else ''}"))
        return configuration, tuple(self._problems)

    def _installation(self, before: needs.Installation, nothing: needs.Installation) -> needs.Installation:
        images, otherwise = before.images, nothing.images
        naming = imageref.Naming(
            self._parsed("defaultRegistry", _registry, otherwise.registry, images.registry),
            self._parsed("enableDefaultRegistryMutation", _boolean, otherwise.shown, images.shown),
        )
        return needs.Installation(
            naming, self._parsed("maxContextSize", _size, nothing.context_size, before.context_size)
        )

    def _parsed(self, field: str, parse: Callable[[str], _T], otherwise: _T, before: _T) -> _T:
        """What an entry says; what it said before where it cannot be read, and something else where it is not there."""
        text = self._data.get(field)
        if text is None or not text.strip():
            return otherwise
        try:
            return parse(text.strip())
        except ValueError as error:
            stays = "" if before == otherwise else "; what it said before stays"
            self._problems.append(Problem(field, f"{error}{stays}"))
            return before


def _boolean(text: str) -> bool:
    if text not in (*_TRUE, *_FALSE):
        raise ValueError(f"{text!r} is neither true nor false")
    return text in _TRUE


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise ValueError(f"{text!r} is no number from 1 on")
    return int(text)


def _size(text: str) -> int:
    amount = quantity.find(text)
    if amount is None or amount < 0:
        raise ValueError(f"{text!r} is no number of bytes, such as 2097152 or 2Mi")
    return math.ceil(amount.value)


def _registry(text: str) -> str:
    host, slash, path = text.partition("/")
    if not _REGISTRY.fullmatch(host) or _ADDRESS.fullmatch(host) or not _REGISTRY_PATH.fullmatch(f"{slash}{path}"):
        raise ValueError(f"{text!r} is no DNS name of a registry, with or without a path: mirror.example/hub")
    return text


def _actions(text: str) -> frozenset[str]:
    found = frozenset(action.strip() for action in text.split(",") if action.strip())
    unknown = sorted(found.difference(_SUCCESSES))
    if unknown:
        raise ValueError(f"nothing that succeeds is {unknown[0]!r}; there are {', '.join(_SUCCESSES)}")
    return found


def _selectors(text: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    document = _object(text)
    unknown = set(document) - {"namespaceSelector", "objectSelector"}
    if unknown:
        raise ValueError(f"unknown field {min(unknown)!r}; there are namespaceSelector and objectSelector")
    for name, selector in document.items():
        if selector is None:
            continue
        if not isinstance(selector, dict):
            raise ValueError(f"{name} must be an object")  # noqa: TRY004 - one error for a bad entry
        _check_selector(selector)
    return document.get("namespaceSelector") or {}, document.get("objectSelector") or {}


def _check_selector(selector: dict[str, Any]) -> None:
    """API servers know no wildcards in selectors, as policies do."""
    labels.matcher(selector)
    for text in itertools.chain.from_iterable((selector.get("matchLabels") or {}).items()):
        if wildcard.has(text):
            raise ValueError(f"{text!r} holds a wildcard, which API servers do not know")


def _conditions(text: str) -> tuple[Mapping[str, str], ...]:
    document = _json(text)
    if not isinstance(document, list):
        raise ValueError("must be a list of conditions, in JSON")  # noqa: TRY004 - one error for a bad entry
    found: dict[str, Mapping[str, str]] = {}
    for each in document:
        if not isinstance(each, dict) or set(each) != {"name", "expression"}:
            raise ValueError("a condition has a name and an expression")
        if not all(isinstance(value, str) and value for value in each.values()) or each["name"] in found:
            raise ValueError("names and expressions of conditions are texts that are not empty, each name there once")
        found[each["name"]] = each
    return tuple(found.values())


def _labels(text: str) -> Mapping[str, str]:
    document = _object(text)
    _check_selector({"matchLabels": document})
    return document


def _annotations(text: str) -> Mapping[str, str]:
    document = _object(text)
    for key, value in document.items():
        if not _ANNOTATION.fullmatch(key) or not isinstance(value, str):
            raise ValueError(f"{key!r} is no annotation with a text")
    return document


def _object(text: str) -> dict[str, Any]:
    document = _json(text)
    if not isinstance(document, dict):
        raise ValueError("must be an object, in JSON")  # noqa: TRY004 - one error for a bad entry
    return document


def _json(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"is no JSON: {error}") from error
