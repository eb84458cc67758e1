"""Values out of YAML's parse events, without recursion.

libyaml makes the events; this builds dicts and lists from them, several times faster than PyYAML's constructors and
with a bound on depth and on what aliases multiply to. Aliases share the value they name: objects are never changed.
"""

from typing import Any, Final

import yaml

from kymograph.apimachinery import yamlscalar

MAX_DEPTH: Final = 200
"""Levels of nesting. Kubernetes takes more, but no object has them, and JSON writers stop at about 250."""

_FREE_ALIASES: Final = 100
_FREE_NODES: Final = 1_000
_SMALL: Final = 400_000
_LARGE: Final = 4_000_000
_CACHE_SIZE: Final = 8_192
_NOTHING: Final[Any] = object()
_MERGE: Final[Any] = object()
_MERGE_TAG: Final = "tag:yaml.org,2002:merge"

Parser: Any = getattr(yaml.cyaml, "CParser") if yaml.__with_libyaml__ else yaml.Loader  # noqa: B009 - its stubs hide it


class BuildFailed(Exception):
    """A document is well-formed YAML but no value; `line` and `column` count from 0."""

    def __init__(self, reason: str, mark: Any) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line: int = mark.line
        self.column: int = mark.column


class Builder:
    """Builds documents; keeps what plain scalars mean between them, since objects repeat their words."""

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict
        self._words: dict[str, Any] = {}
        self._keys: dict[str, str] = {}

    def document(self, text: str) -> Any:
        """The value of the only document in the text; None when there is none.

        Raises:
            yaml.YAMLError: It is not YAML.
            BuildFailed: It is not a value that Kubernetes can read, or holds more than one document.
        """
        parser = Parser(text)
        try:
            parser.get_event()
            if type(parser.get_event()) is yaml.StreamEndEvent:
                return None
            value = _Document(parser, self._words, self._keys, strict=self._strict).read()
            parser.get_event()
            event = parser.get_event()
        finally:
            parser.dispose()
        if type(event) is not yaml.StreamEndEvent:
            raise BuildFailed("another document begins here; separate documents by a line with ---", event.start_mark)
        for cache in (self._words, self._keys):
            if len(cache) > _CACHE_SIZE:
                cache.clear()
        return value


class _Document:
    """One document under construction."""

    def __init__(self, parser: Any, words: dict[str, Any], keys: dict[str, str], *, strict: bool) -> None:
        self._parser = parser
        self._words = words
        self._keys = keys
        self._strict = strict
        self._anchors: dict[str, tuple[Any, int]] = {}  # the resolved scalar or collection, and how many nodes it has
        self._nodes = 0
        self._copied = 0

    def read(self) -> Any:
        """Consume the events of one node; returns its value."""
        get_event = self._parser.get_event
        words = self._words
        open_collections: list[tuple[Any, Any, tuple[str, int] | None]] = []
        target: Any = None
        key: Any = _NOTHING
        anchor: tuple[str, int] | None = None
        while True:
            event = get_event()
            kind = type(event)
            is_map = type(target) is dict
            self._nodes += 1
            if is_map and key is _NOTHING and kind is not yaml.MappingEndEvent:
                key = self._key(event, kind)
                continue
            if kind is yaml.ScalarEvent:
                value = _NOTHING
                if event.tag is None and event.anchor is None:
                    value = words.get(event.value, _NOTHING) if event.implicit[0] else event.value
                if value is _NOTHING:
                    value = self._scalar(event)
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                if len(open_collections) >= MAX_DEPTH:
                    raise BuildFailed(f"nested deeper than {MAX_DEPTH} levels", event.start_mark)
                open_collections.append((target, key, anchor))
                target = {} if kind is yaml.MappingStartEvent else _Merges() if key is _MERGE else []
                key = _NOTHING
                anchor = None
                if event.anchor is not None:
                    anchor = (event.anchor, self._nodes)
                    self._anchors[event.anchor] = (_NOTHING, 0)
                continue
            elif kind is yaml.AliasEvent:
                value = self._valued(self._alias(event), event)
            else:  # the end of a collection
                value = target
                if anchor is not None:
                    named = list(value) if type(value) is _Merges else value
                    self._anchors[anchor[0]] = (named, self._nodes - anchor[1])
                target, key, anchor = open_collections.pop()
                is_map = type(target) is dict
            if is_map:
                if key is _MERGE:
                    self._merge(target, value, event)
                elif self._strict and key in target:
                    raise BuildFailed(f"key {key!r} already set in map", event.start_mark)
                else:
                    target[key] = value
                key = _NOTHING
            elif target is None:
                return value
            else:
                target.append(value)

    def _scalar(self, event: Any) -> Any:
        resolved = self._resolved(event)
        value = self._valued(resolved, event)
        if event.anchor is not None:
            self._anchors[event.anchor] = (resolved, 1)
        elif event.tag is None:
            self._words[event.value] = value
        return value

    def _key(self, event: Any, kind: type) -> Any:
        """The key that an event stands for, or the mark of a merge."""
        if kind is yaml.ScalarEvent:
            text: str = event.value
            if event.tag is None and event.anchor is None:
                known = self._keys.get(text) if event.implicit[0] else text
                if known is not None:
                    return known
            if text == "<<" and (event.tag == _MERGE_TAG or (event.tag is None and event.implicit[0])):
                return _MERGE
            resolved = self._resolved(event)
            if event.anchor is not None:
                self._anchors[event.anchor] = (resolved, 1)
        elif kind is yaml.AliasEvent:
            resolved = self._alias(event)
        else:
            resolved = {}
        if isinstance(resolved, dict | list):
            raise BuildFailed("a key must be text, a number or a boolean", event.start_mark)
        try:
            key = yamlscalar.json_key(resolved)
        except yamlscalar.ScalarInvalid as error:
            raise BuildFailed(str(error), event.start_mark) from error
        if kind is yaml.ScalarEvent and event.tag is None and event.anchor is None:
            self._keys[event.value] = key
        return key

    def _resolved(self, event: Any) -> Any:
        if event.tag is None:
            return yamlscalar.resolve(event.value) if event.implicit[0] else event.value
        try:
            return yamlscalar.resolve_tagged(event.tag, event.value)
        except yamlscalar.ScalarInvalid as error:
            raise BuildFailed(str(error), event.start_mark) from error

    def _valued(self, resolved: Any, event: Any) -> Any:
        try:
            return yamlscalar.json_value(resolved)
        except yamlscalar.ScalarInvalid as error:
            raise BuildFailed(str(error), event.start_mark) from error

    def _alias(self, event: Any) -> Any:
        found = self._anchors.get(event.anchor)
        if found is None:
            raise BuildFailed(f"unknown anchor '{event.anchor}' referenced", event.start_mark)
        value, size = found
        if value is _NOTHING:
            raise BuildFailed(f"anchor '{event.anchor}' value contains itself", event.start_mark)
        self._nodes += size
        self._copied += size
        if self._copied > _FREE_ALIASES and self._nodes > _FREE_NODES and self._excessive():
            raise BuildFailed("document contains excessive aliasing", event.start_mark)
        return value

    def _excessive(self) -> bool:
        """Whether aliases made more of the document than go-yaml allows: 99 % of a small one, 10 % of a large one."""
        share = min(max((self._nodes - _SMALL) / (_LARGE - _SMALL), 0.0), 1.0)
        return self._copied / self._nodes > 0.99 - 0.89 * share

    def _merge(self, target: dict[str, Any], value: Any, event: Any) -> None:
        """Merge at the place of the `<<`: as in go-yaml v2, a merged key replaces one that stands before it."""
        sources = reversed(value) if type(value) is _Merges else (value,)
        for source in sources:
            if type(source) is not dict:
                raise BuildFailed("map merge requires map or sequence of maps as the value", event.start_mark)
            if self._strict:
                twice = next((key for key in source if key in target), None)
                if twice is not None:
                    raise BuildFailed(f"key {twice!r} already set in map", event.start_mark)
            target.update(source)


class _Merges(list[Any]):
    """The list written as the value of a `<<`."""
