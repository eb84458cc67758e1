"""Which Secrets exporters may use, and when one of them is another than before."""

import base64

import pytest

from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.clients.kubernetes import resources
from kymograph.runtime import telemetrysecrets
from kymograph.telemetry import errors

LABELLED = {"kymograph.dev/telemetry": "true"}


class Cluster:
    """Holds Secrets of the operator's namespace.

    Attributes:
        asked: The names asked for, and whether for metadata only.
        failure: What every call raises instead.
    """

    def __init__(self):
        self.secrets = {}
        self.asked = []
        self.failure = None
        self._version = 0

    def put(self, name, labels=LABELLED, kind="Opaque", **data):
        self._version += 1
        self.secrets[name] = {
            "metadata": {"name": name, "labels": labels, "resourceVersion": str(self._version)},
            "type": kind,
            "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
        }

    async def get(self, resource, name, *, namespace, metadata_only=False):
        assert (resource, namespace) == (resources.SECRETS, "kymograph")
        self.asked.append((name, metadata_only))
        if self.failure is not None:
            raise self.failure
        if name not in self.secrets:
            raise kubernetes_errors.NotFound(404, "NotFound", name)
        document = self.secrets[name]
        return {"metadata": document["metadata"]} if metadata_only else document


@pytest.fixture
def cluster():
    return Cluster()


@pytest.fixture
def secrets(cluster):
    return telemetrysecrets.TelemetrySecrets(cluster, "kymograph")


async def test_labelled_secrets_are_read_by_name(cluster, secrets):
    cluster.put("otel-ca", ca=b"PEM")
    cluster.put("otel-token", token=b"\x00\xff")
    assert await secrets.read({"otel-ca", "otel-token"}) == {
        "otel-ca": {"ca": b"PEM"},
        "otel-token": {"token": b"\x00\xff"},
    }
    assert cluster.asked == [("otel-ca", False), ("otel-token", False)]


async def test_no_secret_is_asked_for_that_is_not_named(cluster, secrets):
    cluster.put("otel-ca", ca=b"PEM")
    assert await secrets.read(()) == {}
    assert not await secrets.changed()
    assert cluster.asked == []


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("unlabelled", {"labels": None}),
        ("unlabelled", {"labels": {"app": "x"}}),
        ("mislabelled", {"labels": {"kymograph.dev/telemetry": "yes"}}),
        ("kymograph-tls", {}),
        ("an-account", {"kind": "kubernetes.io/service-account-token"}),
        ("a-node", {"kind": "bootstrap.kubernetes.io/token"}),
    ],
)
async def test_others_may_not_be_used(cluster, secrets, name, given):
    cluster.put(name, token=b"s3cr3t", **given)
    with pytest.raises(errors.SecretNotAllowed, match=name) as refused:
        await secrets.read({name})
    assert "s3cr3t" not in str(refused.value)


async def test_the_operators_own_is_not_even_read(cluster, secrets):
    cluster.put("kymograph-tls", key=b"s3cr3t")
    with pytest.raises(errors.SecretNotAllowed):
        await secrets.read({"kymograph-tls"})
    assert not await secrets.changed()
    assert cluster.asked == []


async def test_one_that_is_missing_is_said_to_be_and_noticed_when_it_comes(cluster, secrets):
    with pytest.raises(errors.SecretMissing, match="otel-ca"):
        await secrets.read({"otel-ca"})
    assert not await secrets.changed()
    cluster.put("otel-ca", ca=b"PEM")
    assert await secrets.changed()


async def test_changes_are_noticed_by_metadata_alone(cluster, secrets):
    cluster.put("otel-ca", ca=b"PEM")
    await secrets.read({"otel-ca"})
    assert not await secrets.changed()
    cluster.put("otel-ca", ca=b"other PEM")
    assert await secrets.changed()
    del cluster.secrets["otel-ca"]
    assert await secrets.changed()
    assert set(cluster.asked[1:]) == {("otel-ca", True)}


async def test_a_label_that_is_taken_away_or_added_is_a_change(cluster, secrets):
    cluster.put("otel-ca", labels={}, ca=b"PEM")
    with pytest.raises(errors.SecretNotAllowed):
        await secrets.read({"otel-ca"})
    assert not await secrets.changed()
    cluster.put("otel-ca", ca=b"PEM")
    assert await secrets.changed()


async def test_an_api_server_that_is_away_changes_nothing(cluster, secrets):
    cluster.put("otel-ca", ca=b"PEM")
    await secrets.read({"otel-ca"})
    cluster.failure = kubernetes_errors.Unreachable("away")
    assert not await secrets.changed()
    cluster.failure = None
    assert not await secrets.changed()


async def test_what_could_not_be_read_is_read_again(cluster, secrets):
    cluster.put("otel-ca", ca=b"PEM")
    cluster.failure = kubernetes_errors.Unreachable("away")
    with pytest.raises(kubernetes_errors.Unreachable):
        await secrets.read({"otel-ca"})
    cluster.failure = None
    assert await secrets.changed()
