"""Which entries of a test are run: `-t policy=..,rule=..,resource=..`, with the wildcards `*` and `?`."""

from collections.abc import Callable, Iterable

from kymograph.apimachinery import wildcard
from kymograph.cli.testing import manifest

_KEYS = ("policy", "rule", "resource")


class Selection:
    """A choice of entries.

    Args:
        text: The choice as written; empty for everything.

    Raises:
        ValueError: It is not of the form `key=value,key=value`, or has another key.
    """

    def __init__(self, text: str = "") -> None:
        self._tests: dict[str, list[Callable[[str], bool]]] = {key: [] for key in _KEYS}
        for part in text.split(",") if text else ():
            key, equals, value = part.partition("=")
            if not equals or "=" in value:
                raise ValueError(f"{part.strip()!r} must be of the form <key>=<value>")
            if key.strip() not in _KEYS:
                raise ValueError(f"{key.strip()!r} is not one of {', '.join(_KEYS)}")
            if value.strip() != "*":
                self._tests[key.strip()].append(wildcard.compile(value.strip()))

    def choose(self, entries: Iterable[manifest.Expected]) -> list[manifest.Expected]:
        """The entries that are chosen, with those of their resources that are.

        Args:
            entries: The entries of a test.
        """
        return [chosen for each in entries if (chosen := self._of(each)) is not None]

    def _of(self, entry: manifest.Expected) -> manifest.Expected | None:
        if not all(test(entry.policy) for test in self._tests["policy"]):
            return None
        if entry.rule and not all(test(entry.rule) for test in self._tests["rule"]):
            return None
        wanted = self._tests["resource"]
        if not wanted or not entry.resources:
            return entry
        kept = tuple(name for name in entry.resources if all(test(name) for test in wanted))
        return entry._replace(resources=kept) if kept else None
