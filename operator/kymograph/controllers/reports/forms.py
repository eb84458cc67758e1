"""The two APIs that reports are written in; they differ in names alone.

`wgpolicyk8s.io/v1alpha2` is the format of the Kubernetes Policy working group, which every tool reads, and
`openreports.io/v1alpha1` its successor outside of Kubernetes. As in Kyverno it is one or the other, for all reports of
a cluster: the same results told twice would be counted twice. The definitions of OpenReports are not ours to install.
"""

import dataclasses

from kymograph.clients.kubernetes import resources
from kymograph.model import policyreport as model


@dataclasses.dataclass(frozen=True, slots=True)
class Form:
    """One API for reports.

    Attributes:
        namespaced: The reports on objects in namespaces.
        cluster: The reports on objects outside of them.
        results: What gets into reports: `pass`, `fail`, ...
    """

    namespaced: resources.Resource
    cluster: resources.Resource
    results: frozenset[str] = frozenset(model.RESULTS)

    def resource(self, namespace: str) -> resources.Resource:
        """The kind of report that an object gets, by its namespace, which may be empty."""
        return self.namespaced if namespace else self.cluster

    @property
    def both(self) -> tuple[resources.Resource, resources.Resource]:
        """Both kinds of reports."""
        return self.namespaced, self.cluster


def _form(group: str, version: str, namespaced: tuple[str, str], cluster: tuple[str, str]) -> Form:
    return Form(
        resources.Resource(group, version, *namespaced, namespaced=True),
        resources.Resource(group, version, *cluster, namespaced=False),
    )


POLICY_REPORTS = _form(model.GROUP, model.VERSION, *((plural, kind) for kind, plural in model.PLURALS.items()))
OPEN_REPORTS = _form("openreports.io", "v1alpha1", ("reports", "Report"), ("clusterreports", "ClusterReport"))

EVERY = (POLICY_REPORTS, OPEN_REPORTS)


def chosen(*, openreports: bool, results: frozenset[str]) -> Form:
    """The form of the reports of a cluster.

    Args:
        openreports: Whether they are those of `openreports.io`.
        results: What gets into them; as in Kyverno, a failure that does not count is a `fail` here, and no `warn`.
    """
    return dataclasses.replace(OPEN_REPORTS if openreports else POLICY_REPORTS, results=results)


GROUPS = frozenset({*(form.namespaced.group for form in EVERY), "reports.kyverno.io"})
"""The groups of everything that is a report, those that Kyverno makes on the way to one included."""
