"""What `/metrics` says, read back with Prometheus' own parsers."""

import threading

import pytest
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from kymograph.telemetry import metricsettings, providers
from kymograph.telemetry.instruments import labels
from support import scraped

REVIEW = labels.Review("Pod", 'quo"ted\\\n', "create", "true", "ValidatingWebhookConfiguration")
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture
def telemetry():
    facts = {"service.instance.id": "i", "k8s.pod.name": "kymograph-0"}
    made = providers.Telemetry(lambda _, subject: (str(subject), {}), facts=facts, environ={})
    made.cells.configure(metricsettings.MetricSettings(by_namespace=True))
    yield made
    made.meter_provider.shutdown()


def read(telemetry, accept=""):
    content_type, pieces = telemetry.prometheus.scrape(accept)
    body = b"".join(pieces)
    parse = openmetrics_parser if "openmetrics" in content_type else parser
    families = list(parse.text_string_to_metric_families(body.decode()))
    assert len({family.name for family in families}) == len(families)
    return {family.name: family for family in families}, content_type


@pytest.mark.parametrize("accept", ["", "text/plain", "*/*", OPENMETRICS])
def test_the_names_types_and_labels_are_kyvernos(telemetry, accept):
    telemetry.instruments.admission_requests.bind(REVIEW).add(3)
    telemetry.instruments.admission_review_duration.bind(REVIEW).record(0.3)
    families, content_type = read(telemetry, accept)
    assert content_type.startswith("application/openmetrics-text" if accept == OPENMETRICS else "text/plain")

    requests = families["admission_requests"]
    (sample,) = requests.samples
    assert (requests.type, sample.name, sample.value) == ("counter", "admission_requests_total", 3)
    assert sample.labels == REVIEW._asdict()
    assert requests.documentation == telemetry.instruments.admission_requests.about.description

    duration = families["admission_review_duration_seconds"]
    assert duration.type == "histogram"
    buckets = {
        float(sample.labels["le"]): sample.value for sample in duration.samples if sample.name.endswith("_bucket")
    }
    assert list(buckets) == [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 20, 25, 30, float("inf")]
    assert [bound for bound, count in buckets.items() if count] == [bound for bound in buckets if bound >= 0.5]
    values = {sample.name.removeprefix(duration.name): sample.value for sample in duration.samples}
    assert (values["_count"], values["_sum"]) == (1, 0.3)


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_no_series_names_a_scope(telemetry, accept):
    telemetry.instruments.admission_requests.bind(REVIEW).add()
    assert "otel_scope" not in scraped.text(telemetry, accept)


def test_the_resource_is_target_info_and_the_process_is_there(telemetry):
    families, _ = read(telemetry)
    assert {"service_name": "kymograph", "k8s_pod_name": "kymograph-0"}.items() <= families["target_info"].samples[
        0
    ].labels.items()
    assert families["process_resident_memory_bytes"].samples[0].value > 0


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
@pytest.mark.parametrize(
    ("attributes", "labels"),
    [
        ({"": "x", "a": "y"}, {"a": "y"}),
        ({"__name__": "x"}, {"_name_": "x"}),
        ({"a_b": "2", "c": "z", "a.b": "1"}, {"a_b": "1;2", "c": "z"}),
        ({"a.-_b": "x"}, {"a_b": "x"}),
        ({"9lives": "x"}, {"key_9lives": "x"}),
        ({"größe": "x"}, {"gr_e": "x"}),
    ],
)
def test_whatever_the_resource_says_the_scrape_can_be_read(telemetry, accept, attributes, labels):
    """One label that cannot be would have Prometheus refuse all series."""
    telemetry.prometheus.show_resource(attributes)
    families, _ = read(telemetry, accept)
    name = "target" if accept else "target_info"
    assert families[name].samples[0].labels == labels


def test_telemetry_counts_itself(telemetry):
    families, _ = read(telemetry)
    assert families["telemetry_spans_exported"].samples[0].value == 0
    assert {sample.labels["reason"] for sample in families["telemetry_spans_dropped"].samples} == {
        "queue_full",
        "memory_full",
        "export_failed",
        "render_failed",
        "no_exporter",
        "shutdown",
    }
    assert families["telemetry_spans_pending"].type == "gauge"


def test_scrapes_at_the_same_time_while_cells_are_written_are_whole(telemetry):
    done, broken = threading.Event(), []

    def scrape():
        while not done.is_set():
            try:
                families, _ = read(telemetry)
                for sample in families["admission_review_duration_seconds"].samples:
                    assert sample.value >= 0
            except Exception as failure:  # noqa: BLE001 - shown by the assertion below
                broken.append(failure)

    telemetry.instruments.admission_review_duration.bind(REVIEW).record(0.1)
    scrapers = [threading.Thread(target=scrape) for _ in range(3)]
    for scraper in scrapers:
        scraper.start()
    for number in range(3_000):
        namespace = REVIEW._replace(resource_namespace=str(number % 20))
        telemetry.instruments.admission_review_duration.bind(namespace).record(0.1)
        telemetry.instruments.admission_requests.bind(namespace).add()
    done.set()
    for scraper in scrapers:
        scraper.join()
    assert broken == []
    total = sum(sample.value for sample in read(telemetry)[0]["admission_requests"].samples)
    assert total == 3_000
