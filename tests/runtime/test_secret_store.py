"""The certificate Secret in a real cluster: made once, changed by whoever read it last."""

import time

import pytest
from opentelemetry.trace import NoOpTracer

from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import connection, errors, resources
from kymograph.runtime import certificates, secretstore
from kymograph.telemetry import current


@pytest.fixture
async def store(kubeconfig, namespace):
    client = clients.KubernetesClient(
        connection.from_kubeconfig(kubeconfig), current.ClientSpans(NoOpTracer(), time.monotonic_ns)
    )
    yield secretstore.SecretStore(client, namespace)
    await client.close()


async def test_a_secret_is_made_read_and_changed(store) -> None:
    """Values are base64 as the API wants them; annotations are kept beside."""
    assert await store.read() is None
    await store.write({"a": "QQ=="}, {"kymograph.dev/x": "1"}, None)
    stored = await store.read()
    assert (dict(stored.data), stored.version != "") == ({"a": "QQ=="}, True)
    await store.write({"a": "Qg=="}, {}, stored.version)
    assert dict((await store.read()).data) == {"a": "Qg=="}


async def test_who_was_slower_meets_a_conflict(store) -> None:
    """Whether the other made it, changed it, or deleted it."""
    await store.write({"a": "QQ=="}, {}, None)
    with pytest.raises(certificates.Conflict):
        await store.write({"a": "Qg=="}, {}, None)
    stored = await store.read()
    await store.write({"a": "Qg=="}, {}, stored.version)
    with pytest.raises(certificates.Conflict):
        await store.write({"a": "Qw=="}, {}, stored.version)
    await store._client.delete(resources.SECRETS, secretstore.NAME, namespace=store._namespace)
    with pytest.raises(certificates.Conflict):
        await store.write({"a": "Qw=="}, {}, stored.version)


async def test_a_namespace_that_does_not_exist_is_no_conflict(store) -> None:
    """Nobody was faster; trying again would not help."""
    nowhere = secretstore.SecretStore(store._client, "no-such-namespace")
    with pytest.raises(errors.NotFound, match="no-such-namespace"):
        await nowhere.write({"a": "QQ=="}, {}, None)
