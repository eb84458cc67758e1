"""From the data of the ConfigMap to what it says, and to everything that is wrong with it. Pure.

An entry that cannot be read counts as if it were not there, so that a mistake lets nothing pass that policies forbid,
and is named. Keys and forms are Kyverno's (`pkg/config`, v1.19); what Kyverno would send on to the API server, which
takes or refuses a webhook configuration as a whole, is checked here first.
"""

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import orjson

from kymograph.apimachinery import labels, quantity
from kymograph.controllers.configuration import exclusions as excluding
from kymograph.controllers.configuration import filters as filtering

_T = TypeVar("_T")

_WITHOUT_EFFECT = ("updateRequestThreshold", "maxContextSize")
"""Limits that are read and change nothing here: no UpdateRequest is dropped, and every evaluation has its budget."""

_FIELDS = (
    *_WITHOUT_EFFECT,
    "defaultRegistry",
    "enableDefaultRegistryMutation",
    "excludeClusterRoles",
    "excludeGroups",
    "excludeRoles",
    "excludeUsernames",
    "generateSuccessEvents",
    "matchConditions",
    "resourceFilters",
    "successEventActions",
    "webhookAnnotations",
    "webhookLabels",
    "webhooks",
)

_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")
_ANNOTATION = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_DOCKER_HUB = "docker.io"


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


NOTHING = Configuration()
"""What counts where there is no ConfigMap: policies are for everybody and everything."""


def read(data: Mapping[str, str]) -> tuple[Configuration, tuple[Problem, ...]]:
    """Read the data of the ConfigMap.

    Returns:
        What it says, and what is wrong with it.
    """
    return _Reader(data).read()


class _Reader:
    def __init__(self, data: Mapping[str, str]) -> None:
        self._data = data
        self._problems: list[Problem] = []

    def read(self) -> tuple[Configuration, tuple[Problem, ...]]:
        found, wrong = filtering.parse(self._data.get("resourceFilters", ""))
        self._problems += [Problem("resourceFilters", reason) for reason in wrong]
        nothing: Mapping[str, Any] = {}
        selectors = self._parsed("webhooks", _selectors, nothing)
        configuration = Configuration(
            filters=filtering.Filters(found),
            exclusions=excluding.Exclusions(
                *(
                    excluding.parse(self._data.get(field, ""))
                    for field in ("excludeUsernames", "excludeGroups", "excludeRoles", "excludeClusterRoles")
                )
            ),
            namespace_selector=selectors.get("namespaceSelector") or {},
            object_selector=selectors.get("objectSelector") or {},
            match_conditions=self._parsed("matchConditions", _conditions, ()),
            webhook_annotations=self._parsed("webhookAnnotations", _annotations, {}),
            webhook_labels=self._parsed("webhookLabels", _labels, {}),
            success_events=self._parsed("generateSuccessEvents", _boolean, None),
            success_actions=frozenset(
                action.strip() for action in self._data.get("successEventActions", "").split(",") if action.strip()
            ),
        )
        for field in _WITHOUT_EFFECT:
            self._parsed(field, _amount, None)
        for field in sorted(set(self._data) - set(_FIELDS)):
            near = difflib.get_close_matches(field, _FIELDS, n=1)
            self._problems.append(Problem(field, f"unknown entry{f'; did you mean {near[0]!r}?' if near else ''}"))
        self._parsed("defaultRegistry", _registry, None)
        self._parsed("enableDefaultRegistryMutation", _mutated, None)
        return configuration, tuple(self._problems)

    def _parsed(self, field: str, parse: Callable[[str], _T], otherwise: _T) -> _T:
        text = self._data.get(field)
        if text is None or not text.strip():
            return otherwise
        try:
            return parse(text.strip())
        except ValueError as error:
            self._problems.append(Problem(field, str(error)))
            return otherwise


def _boolean(text: str) -> bool | None:
    if text not in (*_TRUE, *_FALSE):
        raise ValueError(f"{text!r} is neither true nor false")
    return text in _TRUE


def _amount(text: str) -> None:
    if quantity.find(text) is None:
        raise ValueError(f"{text!r} is no number or quantity")


def _registry(text: str) -> None:
    if text != _DOCKER_HUB:
        raise ValueError(f"is not supported: images that name no registry are of {_DOCKER_HUB}")


def _mutated(text: str) -> None:
    if not _boolean(text):
        raise ValueError("is not supported: the registry of an image that names none is always filled in")


def _selectors(text: str) -> Mapping[str, Any]:
    document = _object(text)
    unknown = set(document) - {"namespaceSelector", "objectSelector"}
    if unknown:
        raise ValueError(f"unknown field {min(unknown)!r}; there are namespaceSelector and objectSelector")
    for name, selector in document.items():
        if selector is None:
            continue
        if not isinstance(selector, dict):
            raise ValueError(f"{name} must be an object")  # noqa: TRY004 - one error for a bad entry
        labels.matcher(selector)
    return document


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
    labels.matcher({"matchLabels": document})
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
