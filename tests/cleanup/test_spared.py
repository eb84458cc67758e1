"""The operator does not clean up itself, whoever asks and by whatever means."""

import pytest

from kymograph.clients.kubernetes import resources
from kymograph.controllers.cleanup import spared
from kymograph.controllers.configuration import filters

CONFIG_MAPS = resources.CONFIG_MAPS
ROLES = resources.CLUSTER_ROLES
DEFINITIONS = resources.CUSTOM_RESOURCE_DEFINITIONS
OURS = {"app.kubernetes.io/name": "kymograph"}


@pytest.mark.parametrize(
    ("resource", "namespace", "name", "labels"),
    [
        (CONFIG_MAPS, "kymograph", "anything", {}),
        (resources.NAMESPACES, "", "kymograph", {}),
        (ROLES, "", "kymograph:cleanup", OURS),
        (resources.VALIDATING_WEBHOOK_CONFIGURATIONS, "", "any", {"app.kubernetes.io/managed-by": "kymograph"}),
        (DEFINITIONS, "", "clusterpolicies.kyverno.io", {}),
        (DEFINITIONS, "", "policyreports.wgpolicyk8s.io", {}),
    ],
)
def test_what_belongs_to_the_operator_is_its_own(resource, namespace, name, labels) -> None:
    """Its namespace and what is in it, its roles and configurations, and the kinds without which no policy exists."""
    own = spared.Spared("kymograph")
    assert own.own(resource, namespace, name, marked=spared.is_marked(labels))
    assert own.from_policies(resource, namespace, name, labels)


@pytest.mark.parametrize(
    ("resource", "namespace", "name", "labels"),
    [
        (CONFIG_MAPS, "shop", "anything", OURS),
        (CONFIG_MAPS, "shop", "kymograph", {}),
        (resources.NAMESPACES, "", "shop", {}),
        (ROLES, "", "kymograph-viewer", {"app.kubernetes.io/name": "other"}),
        (DEFINITIONS, "", "widgets.example.org", {}),
    ],
)
def test_nothing_else_is(resource, namespace, name, labels) -> None:
    """In other namespaces a label makes nothing the operator's."""
    assert not spared.Spared("kymograph").from_policies(resource, namespace, name, labels)


def test_what_the_config_map_filters_is_spared_by_policies() -> None:
    """As it is at that moment; an object's own label is not asked whether webhooks see it."""
    current = [filters.Filters()]
    spare = spared.Spared("kymograph", filtering=lambda: current[0])
    assert not spare.from_policies(CONFIG_MAPS, "kube-system", "settings", {})
    parsed, _ = filters.parse("[*/*,kube-system,*][ConfigMap,*,kept-*]")
    current[0] = filters.Filters(parsed)
    assert spare.from_policies(CONFIG_MAPS, "kube-system", "settings", {})
    assert spare.from_policies(CONFIG_MAPS, "shop", "kept-1", {})
    assert not spare.from_policies(CONFIG_MAPS, "shop", "other", {})
    assert not spare.own(CONFIG_MAPS, "kube-system", "settings", marked=False)


def test_what_kyverno_manages_is_spared_by_policies_alone() -> None:
    """A label with a time to live on such an object was written by whoever manages it."""
    labels = {"app.kubernetes.io/managed-by": "kyverno"}
    for protect in (False, True):
        spare = spared.Spared("kymograph", protect=protect)
        assert spare.from_policies(CONFIG_MAPS, "shop", "clone", labels) is protect
        assert not spare.own(CONFIG_MAPS, "shop", "clone", marked=spared.is_marked(labels))
