"""Kyverno's public policy tests, where they lie beside the repository: no folder of them may get worse.

`expected.json` holds for each folder how many rows pass, fail, are not supported and could not be run. Where the
corpus is not there this file has no tests. To write the table anew after something got better:

    python tests/corpus/test_corpus.py
"""

import functools
import json
import pathlib
import time

import pytest

from kymograph.cli.testing import discovery, running
from kymograph.cli.testing.output import summary

ROOT = pathlib.Path(__file__).parents[2]
CORPUS = ROOT.parent / "shared" / "corpus"
ROOTS = [str(path) for path in (CORPUS / "kyverno-policies", CORPUS / "kyverno-cli" / "test" / "cli") if path.is_dir()]
TABLE = pathlib.Path(__file__).with_name("expected.json")
COUNTS = ("passed", "failed", "unsupported", "errors")


@functools.cache
def table() -> dict[str, dict[str, int]]:
    """What the corpus comes to now, by folder."""
    options = running.Options(choice="", strict=False, trace=False, now=time.time_ns())
    reports = list(running.run(discovery.find(ROOTS, "kyverno-test.yaml"), options, jobs=2))
    found = summary.by_folder(reports, ROOTS)
    return {
        str(pathlib.PurePath(folder).relative_to(CORPUS)): dict(zip(COUNTS, counts.numbers(), strict=True))
        for folder, counts in found.items()
    }


def expected() -> dict[str, dict[str, int]]:
    """What it came to when the table was written."""
    found: dict[str, dict[str, int]] = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    return found


if ROOTS:

    @pytest.mark.timeout(600)
    @pytest.mark.parametrize("folder", sorted(expected()))
    def test_a_folder_of_the_corpus_gets_no_worse(folder: str) -> None:
        """As many rows pass, and no more fail, than when the table was written."""
        before, now = expected()[folder], table()[folder]
        assert now["passed"] >= before["passed"]
        assert now["failed"] <= before["failed"]
        assert now["unsupported"] <= before["unsupported"]
        assert now["errors"] <= before["errors"]

    @pytest.mark.timeout(600)
    def test_the_table_has_every_folder_of_the_corpus() -> None:
        """None is left out of the comparison."""
        assert sorted(expected()) == sorted(table())


if __name__ == "__main__":
    lines = [f"  {json.dumps(folder)}: {json.dumps(counts)}" for folder, counts in table().items()]
    TABLE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
