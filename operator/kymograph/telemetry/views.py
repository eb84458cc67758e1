"""How each metric is shown: settings, which speak of names and labels, made into what one instrument acts on.

A configuration may spell a metric as a scrape does (`policy_results_total`) or as OTLP does (`policy_results`), and
with Kyverno's prefix or without: Kyverno matches the second spelling only while its own chart uses the first, so that
half of what its users configure does nothing.
"""

import dataclasses
from collections.abc import Iterable, Mapping

from kymograph.telemetry import errors, metricsettings, partial

KYVERNO = "kyverno_"
CLASSIC = frozenset({"cluster", "namespaced", ""})
"""The values of the label `policy_type` of ClusterPolicies and Policies; of other kinds of policies it is the kind."""
NAMESPACE = "resource_namespace"
"""The label that `metrics.namespaces` looks at."""

BY_NAMESPACE = frozenset({NAMESPACE})
"""The optional labels of metrics whose series would be as many as a cluster has namespaces, times all else."""


@dataclasses.dataclass(frozen=True, slots=True)
class Description:
    """What an instrument is.

    Attributes:
        name: The metric's name in a scrape, without a prefix; a counter's ends with `_total`.
        description: The HELP text.
        unit: A UCUM code, or an annotation such as `{request}`.
        labels: The names of its labels, in the order of the values that `bind` takes.
        kyverno: Kyverno has this metric, too: `metrics.prefix` stands before its name.
        lasting: Its series stay when what they are about is gone.
        optional: Those of its labels that are left out unless they are asked for: by `MetricSettings.by_namespace`, or
            where it is said which labels of this metric are left out. They have too many values.
        unifies: It is about policies of every kind; in Kyverno's there are only those of `CLASSIC` types.
        unified: What it says of one kind of policies is in one that `unifies`, too; shown only under Kyverno's name.
    """

    name: str
    description: str
    unit: str
    labels: tuple[str, ...]
    kyverno: bool = False
    lasting: bool = False
    optional: frozenset[str] = frozenset()
    unifies: bool = False
    unified: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class View:
    """How one metric is shown.

    Attributes:
        name: Its name in OTLP, with the prefix.
        enabled: Whether it is shown; it is counted either way.
        kept: The positions of the labels that are shown.
        bounds: Upper bounds of its buckets; None for its own.
        namespace: The position of the label that `namespaces` looks at; None where it has none.
        namespaces: Whose resources are counted.
        policy_type: The position of the label that says which kind of policy a series is about, where only those of
            `CLASSIC` types are counted; None where all are.
        limit: Series at most, the overflow series among them.
        exponential: Whether exponential buckets are kept beside its own, for who is pushed to.
    """

    name: str
    enabled: bool
    kept: tuple[int, ...]
    bounds: tuple[float, ...] | None
    namespace: int | None
    namespaces: metricsettings.NamespaceFilter
    limit: int
    exponential: bool = False
    policy_type: int | None = None

    def admits(self, values: tuple[str, ...]) -> bool:
        """Whether what has these values of all labels is counted; one that is not known (any more) is empty."""
        if self.namespace is not None and not self.namespaces.admits(values[self.namespace]):
            return False
        return self.policy_type is None or values[self.policy_type] in CLASSIC


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """An instrument as views know it: what it is, and whether it counts and whether it has buckets."""

    about: Description
    counts: bool
    has_buckets: bool

    @property
    def name(self) -> str:
        """Its name in OTLP, where counters carry no `_total`: what turns OTLP into a scrape adds it."""
        return self.about.name.removesuffix("_total") if self.counts else self.about.name

    @property
    def spellings(self) -> frozenset[str]:
        """The names that a configuration may use for it."""
        names = {self.name, self.about.name}
        return frozenset(names | {KYVERNO + name for name in names} if self.about.kyverno else names)


def resolve(
    wanted: metricsettings.MetricSettings, subjects: Iterable[Subject], parts: partial.Whole = partial.WHOLE
) -> Mapping[str, View]:
    """Make the views of all instruments.

    Args:
        wanted: The settings.
        subjects: All instruments.
        parts: What becomes of a metric that cannot be shown as it is wanted.

    Returns:
        Views by `Description.name`.

    Raises:
        SettingsInvalid: A metric or label is named that there is not; the text lists those that there are.
    """
    known = tuple(subjects)
    chosen: dict[str, metricsettings.Exposure] = {}
    for spelled, exposure in wanted.exposure.items():
        path = f"metrics.exposure[{spelled}]"
        subject = next((each for each in known if spelled in each.spellings), None)
        with parts.part(path):
            if subject is None:
                there_are = ", ".join(sorted(each.about.name for each in known))
                raise errors.SettingsInvalid(path, f"there is no such metric; there are {there_are}")
            if subject.about.name in chosen:
                raise errors.SettingsInvalid(path, f"{subject.about.name} is configured twice")
            _check(subject, exposure, path)
            chosen[subject.about.name] = exposure
    default = metricsettings.Exposure()
    return {each.about.name: _view(each, wanted, chosen.get(each.about.name, default)) for each in known}


def _check(subject: Subject, exposure: metricsettings.Exposure, path: str) -> None:
    labels = subject.about.labels
    if unknown := sorted((exposure.drop_labels or frozenset()).difference(labels)):
        has = ", ".join(labels) or "none"
        raise errors.SettingsInvalid(f"{path}.dropLabels", f"there is no label {unknown[0]!r}; its labels are {has}")
    if exposure.buckets is not None and not subject.has_buckets:
        raise errors.SettingsInvalid(f"{path}.buckets", "it is no histogram")


def _view(subject: Subject, wanted: metricsettings.MetricSettings, exposure: metricsettings.Exposure) -> View:
    labels = subject.about.labels
    dropped = exposure.drop_labels
    if dropped is None:
        dropped = subject.about.optional - (BY_NAMESPACE if wanted.by_namespace else frozenset())
    return View(
        name=(wanted.prefix if subject.about.kyverno else "") + subject.name,
        enabled=exposure.enabled and (bool(wanted.prefix) or not subject.about.unified),
        kept=tuple(at for at, label in enumerate(labels) if label not in dropped),
        bounds=exposure.buckets,
        namespace=labels.index(NAMESPACE) if NAMESPACE in labels else None,
        namespaces=wanted.namespaces,
        limit=wanted.cardinality_limit,
        exponential=wanted.otlp is not None and wanted.otlp.histograms is metricsettings.Histograms.EXPONENTIAL,
        policy_type=labels.index("policy_type") if subject.about.unifies and not wanted.unified else None,
    )
