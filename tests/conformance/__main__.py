"""Runs chainsaw cases against a control plane of their own with the operator on it, and prints the table.

    PYTHONPATH=tests python -m conformance ROOT [FOLDER...] [--limit SECONDS] [--json FILE] [--log FILE]

Exit status: 0 if every case passed, 1 if one did not.
"""

import argparse
import dataclasses
import pathlib
import sys

import orjson

from conformance import cases, setting, table


def main() -> int:
    """Run what the command line names; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m conformance", description=__doc__.partition("\n")[0])
    parser.add_argument("root", type=pathlib.Path, help="where the cases lie; folders are counted from here")
    parser.add_argument("folders", nargs="*", help="only the cases below these folders of the root (default: all)")
    parser.add_argument("--limit", type=float, default=90.0, help="seconds no assertion waits longer than")
    parser.add_argument("--json", type=pathlib.Path, help="a file for the results, one JSON object a line")
    parser.add_argument("--log", type=pathlib.Path, help="a file for the operator's log")
    options = parser.parse_args()
    root = options.root.absolute()
    manifests = [path for folder in options.folders or ("",) for path in cases.find(root, root / folder)]
    results = []
    with setting.started(limit=options.limit, log=options.log) as runner:
        for manifest in manifests:
            result = runner.run(manifest, root)
            results.append(result)
            sys.stderr.write(f"{result.status} {result.seconds:5.1f}s {result.path} {result.reason}\n")
            if options.json:
                with options.json.open("ab") as written:
                    written.write(orjson.dumps(dataclasses.asdict(result)) + b"\n")
    sys.stdout.write("".join(f"{line}\n" for line in table.lines(results)))
    return 0 if all(each.status != "failed" for each in results) else 1


if __name__ == "__main__":
    sys.exit(main())
