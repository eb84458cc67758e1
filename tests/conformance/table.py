"""Results as a table by folder, with the reason of every failure below it."""

import collections
from collections.abc import Iterator, Sequence

from conformance import reasons, running


def lines(results: Sequence[running.Result]) -> Iterator[str]:
    """The table in Markdown, then the cases that failed: why, where it is known, and what the run said."""
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for each in results:
        counts[each.path.partition("/")[0]][each.status] += 1
    yield "| folder | passed | of | left out |"
    yield "| --- | ---: | ---: | ---: |"
    total = sum(counts.values(), collections.Counter())
    for folder, count in (*sorted(counts.items()), ("all", total)):
        yield f"| {folder} | {count['passed']} | {count['passed'] + count['failed']} | {count['skipped']} |"
    for each in results:
        if each.status == "failed":
            known = reasons.of(each.path)
            said = each.reason.partition("\n")[0]
            yield f"- {each.path}: {known} ({said})" if known else f"- {each.path}: {said}"
