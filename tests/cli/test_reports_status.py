"""What `kymograph reports status` reads from a cluster, and how it shows it."""

import json

import pytest

from kymograph.cli import reports
from kymograph.cli.reporting import state
from kymograph.clients.kubernetes import errors

PROGRESS = {
    "startedAt": "2026-03-01T09:30:00+00:00",
    "finishedAt": "",
    "nextAt": "",
    "resources": [
        {"resource": "pods", "kind": "Pod", "policies": 2, "objects": 3, "scanned": 1, "news": 1, "state": "scanning"},
        {
            "resource": "leases.v1.coordination.k8s.io",
            "kind": "Lease",
            "policies": 1,
            "objects": 0,
            "scanned": 0,
            "news": 0,
            "state": "forbidden",
        },
    ],
}


class Reader:
    """Three Pods, one of them with a report and one that is to have none; Leases may not be listed."""

    def __init__(self, progress=PROGRESS):
        self.progress = progress

    async def get(self, resource, name, *, namespace=""):
        if self.progress is None:
            raise errors.NotFound(404, "NotFound", name)
        assert (namespace, name) == ("kymograph", "kymograph-scans")
        return {"data": {"progress.json": json.dumps(self.progress)}}

    async def pages(self, resource, *, metadata_only=False):
        match resource.plural:
            case "pods":
                assert metadata_only
                yield {"items": [{"metadata": {"uid": "a"}}]}
                yield {
                    "items": [
                        {"metadata": {"uid": "b"}},
                        {"metadata": {"uid": "c", "labels": {"reports.kyverno.io/disabled": ""}}},
                    ]
                }
            case "policyreports":
                rows = [
                    {"source": "kyverno", "policy": "p", "result": "pass"},
                    {"source": "kyverno", "policy": "p", "result": "fail"},
                    {"source": "another", "policy": "x", "result": "fail"},
                ]
                yield {"items": [{"metadata": {"name": "a"}, "results": rows}]}
            case "leases":
                assert (resource.group, resource.version) == ("coordination.k8s.io", "v1")
                raise errors.Forbidden(403, "Forbidden", "no")
            case _:
                yield {"items": []}


async def test_progress_objects_and_results_are_brought_together() -> None:
    """Objects that are to have no report miss none; what may not be listed is not known."""
    found = await state.read(Reader(), "kymograph")
    assert [(each.kind, each.state, each.without) for each in found.kinds] == [
        ("Pod", "scanning", 1),
        ("Lease", "forbidden", None),
    ]
    assert (found.reports, found.results) == (1, {"p": {"pass": 1, "fail": 1}})


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        (
            PROGRESS,
            """\
The latest scan began 2026-03-01T09:30:00+00:00 and goes on.
Everything is scanned next at -.

KIND   RESOURCE                       POLICIES  STATE      SCANNED  OBJECTS  NO REPORT
Pod    pods                           2         scanning   1        3        1
Lease  leases.v1.coordination.k8s.io  1         forbidden  0        0        ?
""",
        ),
        (None, "No scan has been told of: the operator has not begun one, or runs in another namespace.\n"),
    ],
    ids=["scanning", "never"],
)
async def test_tables_are_aligned(progress, expected) -> None:
    """And end with the sum of all results."""
    lines = "".join(f"{line}\n" for line in reports._lines(await state.read(Reader(progress), "kymograph")))
    assert lines.startswith(expected)
    assert lines.endswith(
        """
1 reports:
POLICY  PASS  FAIL  WARN  ERROR  SKIP
p       1     1     0     0      0
all     1     1     0     0      0
"""
    )
