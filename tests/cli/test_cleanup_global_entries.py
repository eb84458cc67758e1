"""Global entries in a preview of what a policy would delete: looked up in the cluster, once."""

import pytest

from fakes.cleanable import served
from fakes.collection import Collection
from kymograph.cli.cleaning import entries
from kymograph.clients.kubernetes import discovery, errors, resources

WIDGETS = resources.Resource("example.org", "v1", "widgets", "Widget", namespaced=True)
OF_WIDGETS = {"kubernetesResource": {"group": "example.org", "version": "v1", "resource": "widgets"}}
NAMES = [{"name": "names", "jmesPath": "[].metadata.name"}]


class Client:
    """A cluster with global entries and Widgets."""

    def __init__(self, **specs):
        self.specs = specs
        self.read_entries = []
        self.widgets = Collection("b", "a")

    async def get(self, resource, name):
        assert resource == resources.GLOBAL_CONTEXT_ENTRIES
        self.read_entries.append(name)
        if name not in self.specs:
            raise errors.NotFound(404, "NotFound", f"{name} not found")
        return {"metadata": {"name": name, "uid": "u1"}, "spec": self.specs[name]}

    def pages(self, resource, **given):
        assert resource == WIDGETS
        return self.widgets.pages(resource, **given)

    async def request(self, path, *, limit, method, body):
        return {"path": path, "method": method}


@pytest.fixture(autouse=True)
def discovered(monkeypatch):
    async def discover(client):
        return discovery.Catalogue((served(WIDGETS),))

    monkeypatch.setattr(discovery, "discover", discover)


async def test_a_collection_is_listed_once() -> None:
    """As the operator keeps it: sorted, whole objects with their kind; projections are taken from that."""
    client = Client(widgets={**OF_WIDGETS, "projections": NAMES})
    looked_up = entries.Entries(client)
    held = await looked_up.look_up("widgets")
    assert [(each["kind"], each["metadata"]["name"]) for each in held] == [("Widget", "a"), ("Widget", "b")]
    assert await looked_up.look_up("widgets.names") == ["a", "b"]
    assert (client.widgets.listed, client.read_entries) == (1, ["widgets"])


async def test_a_call_of_the_api_server_is_made() -> None:
    """With the caller's rights."""
    assert await entries.Entries(Client(one={"apiCall": {"urlPath": "/api"}})).look_up("one") == {
        "path": "/api",
        "method": "GET",
    }


@pytest.mark.parametrize(
    ("reference", "spec", "problem"),
    [
        ("one.two", {"apiCall": {"urlPath": "/api"}}, 'projection "two" not found'),
        ("one", {"apiCall": {"service": {"url": "https://a"}}}, "the service that it calls is known to the operator"),
        ("one", {"apiCall": {"method": "PUT"}}, "spec.apiCall.method"),
        ("one", {"kubernetesResource": {"version": "v1", "resource": "none"}}, "the API server does not serve core/v1"),
    ],
)
async def test_what_is_not_known_says_why(reference, spec, problem) -> None:
    """The objects whose conditions need it are undecided."""
    with pytest.raises(LookupError, match=problem):
        await entries.Entries(Client(one=spec)).look_up(reference)


async def test_an_entry_that_does_not_exist() -> None:
    """Is the API server's to say."""
    with pytest.raises(errors.NotFound):
        await entries.Entries(Client()).look_up("one")
