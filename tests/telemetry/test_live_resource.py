"""Who we are in exported telemetry, and who may say so."""

import pytest

from kymograph.telemetry import resource

FACTS = {"service.version": "1.2", "k8s.pod.name": "kymograph-0"}


@pytest.mark.parametrize(
    ("environ", "configured", "expected"),
    [
        ({}, {}, {"service.name": "kymograph", **FACTS}),
        ({"OTEL_SERVICE_NAME": "guard"}, {}, {"service.name": "guard"}),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=a,team=x%20y"}, {}, {"service.name": "a", "team": "x y"}),
        (
            {"OTEL_SERVICE_NAME": "guard", "OTEL_RESOURCE_ATTRIBUTES": "service.name=a"},
            {},
            {"service.name": "guard"},
        ),
        ({"OTEL_SERVICE_NAME": "guard"}, {"service.name": "configured"}, {"service.name": "configured"}),
        ({"OTEL_RESOURCE_ATTRIBUTES": "k8s.pod.name=other"}, {}, {"k8s.pod.name": "other"}),
        ({"OTEL_RESOURCE_ATTRIBUTES": " , nonsense, a = 1 ,b=c=d"}, {}, {"a": "1", "b": "c=d"}),
    ],
)
def test_configured_stands_above_environment_above_facts(environ, configured, expected):
    attributes = resource.attributes_of(FACTS, environ, configured)
    assert expected.items() <= attributes.items()
    assert attributes["telemetry.sdk.language"] == "python"


@pytest.mark.parametrize(("environ", "configured"), [({"OTEL_RESOURCE_ATTRIBUTES": "=x, =y"}, {}), ({}, {"": "x"})])
def test_what_has_no_name_is_no_attribute(environ, configured):
    assert "" not in resource.attributes_of(FACTS, environ, configured)


def test_its_content_changes_and_it_stays_the_same_resource():
    live = resource.LiveResource({"a": "1"})
    before, key = live.attributes, hash(live)
    live.replace({"b": "2"})
    assert (live.attributes, before) == ({"b": "2"}, {"a": "1"})
    assert hash(live) == key
    assert live != resource.LiveResource({"b": "2"})
    assert live.merge(resource.LiveResource({"c": "3"})).attributes == {"b": "2", "c": "3"}
