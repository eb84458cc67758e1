"""Runs chainsaw cases against control planes of their own with the operator on them, and prints the table.

    PYTHONPATH=tests python -m conformance ROOT [FOLDER...] [--limit SECONDS] [--json FILE] [--log FILE]

Each folder below ROOT has a control plane of its own, and an operator with the flags that `folders` names. With
`--print` nothing is run: the table is made of FILE, the results of earlier runs, the last of each case.

Exit status: 0 if every case passed, 1 if one did not.
"""

import argparse
import dataclasses
import itertools
import pathlib
import sys
from collections.abc import Iterator

import orjson

from conformance import cases, folders, running, setting, table


def main() -> int:
    """Run what the command line names; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m conformance", description=__doc__.partition("\n")[0])
    parser.add_argument("root", type=pathlib.Path, help="where the cases lie; folders are counted from here")
    parser.add_argument("folders", nargs="*", help="only the cases below these folders of the root (default: all)")
    parser.add_argument("--limit", type=float, default=90.0, help="seconds no assertion waits longer than")
    parser.add_argument("--json", type=pathlib.Path, help="a file that results are added to, one JSON object a line")
    parser.add_argument("--log", type=pathlib.Path, help="a file that the operator's log is added to")
    parser.add_argument("--print", action="store_true", help="run nothing; print the table of the results in --json")
    options = parser.parse_args()
    root = options.root.absolute()
    chosen = [root / folder for folder in options.folders or ("",)]
    if options.print:
        results = list(_read(options.json, [str(each.relative_to(root)) for each in chosen]))
    else:
        results = []
        for result in _run(root, chosen, options.limit, options.log):
            results.append(result)
            sys.stderr.write(f"{result.status} {result.seconds:5.1f}s {result.path} {result.reason}\n")
            if options.json:
                with options.json.open("ab") as written:
                    written.write(orjson.dumps(dataclasses.asdict(result)) + b"\n")
    sys.stdout.write("".join(f"{line}\n" for line in table.lines(results)))
    return 0 if all(each.status != "failed" for each in results) else 1


def _run(
    root: pathlib.Path, chosen: list[pathlib.Path], limit: float, log: pathlib.Path | None
) -> Iterator[running.Result]:
    manifests = [path for folder in chosen for path in cases.find(root, folder)]
    for name, group in itertools.groupby(manifests, lambda path: path.relative_to(root).parts[0]):
        wanted = list(group)
        left_out = [result for path in wanted if (result := running.left_out(path, root))]
        yield from left_out
        if len(left_out) == len(wanted):
            continue
        skipped = {each.path for each in left_out}
        with setting.started(limit=limit, log=log, folder=folders.of(name)) as runner:
            for path in wanted:
                if str(path.parent.relative_to(root)) not in skipped:
                    yield runner.run(path, root)


def _read(path: pathlib.Path, chosen: list[str]) -> Iterator[running.Result]:
    last = {}
    for line in path.read_bytes().splitlines():
        result = running.Result(**orjson.loads(line))
        last[result.path] = result
    for case, result in sorted(last.items()):
        if any(folder in {".", case} or case.startswith(f"{folder}/") for folder in chosen):
            yield result


if __name__ == "__main__":
    sys.exit(main())
