"""Results as a table by folder, with the reason of every failure below it."""

import collections
from collections.abc import Iterator, Sequence

from conformance import running


def lines(results: Sequence[running.Result]) -> Iterator[str]:
    """The table in Markdown, then the cases that failed."""
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for each in results:
        counts[each.path.partition("/")[0]][each.status] += 1
    yield "| folder | cases | passed | failed | skipped |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for folder, count in sorted(counts.items()):
        numbers = (count.total(), count["passed"], count["failed"], count["skipped"])
        yield f"| {folder} | " + " | ".join(map(str, numbers)) + " |"
    for each in results:
        if each.status == "failed":
            yield f"- {each.path}: {each.reason}"
