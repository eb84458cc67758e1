"""Webhooks that fail closed are written only when the API server has shown that it reaches us."""

import asyncio
import base64

import orjson
import pytest

from kymograph.apimachinery import jsonpatch
from kymograph.clients.kubernetes import errors
from kymograph.controllers.admission import reachability, server, webhooknames

NAMES = webhooknames.KYMOGRAPH


class Leases:
    """An API server with one Lease, which may ask a webhook about each update."""

    def __init__(self):
        self.lease = None
        self.asks = None
        self.failure = None
        self.writes = 0

    async def get(self, resource, name, *, namespace=""):
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        if self.lease is None:
            raise errors.NotFound(404, "NotFound", name)
        return self.lease

    async def create(self, resource, document, *, namespace=""):
        self.lease = document
        return document

    async def update(self, resource, document, *, namespace=""):
        self.writes += 1
        if self.asks is not None:
            request = {"uid": "u", "operation": "UPDATE", "object": document, "name": NAMES.lease}
            kind = {"group": "coordination.k8s.io", "version": "v1"}
            request |= {"kind": {**kind, "kind": "Lease"}, "resource": {**kind, "resource": "leases"}}
            body = orjson.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})
            answer = orjson.loads(self.asks(server.Request("/mutate/reachability", body, 0)))["response"]
            assert answer["allowed"]
            document = jsonpatch.apply(document, orjson.loads(base64.b64decode(answer["patch"])))
        self.lease = document
        return document


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def made(monkeypatch):
    monkeypatch.setattr(reachability, "RETRY_FIRST", 0.001)
    monkeypatch.setattr(reachability, "RETRY_MOST", 0.002)
    monkeypatch.setattr(reachability, "EVERY", 0.005)
    leases, clock, times = Leases(), Clock(), iter(range(1, 10_000))
    found = reachability.Reachability(
        leases, "kymograph", NAMES, "me", lambda: f"2026-01-01T00:00:{next(times)}Z", clock
    )
    return found, leases, clock


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what is looked at has no event
            await asyncio.sleep(0.001)


async def test_having_written_the_lease_is_no_proof(made) -> None:
    """Only an answer of ours in it is; then who waits for that is told."""
    found, leases, _ = made
    told = []
    found.listen(lambda: told.append(found.reached))
    task = asyncio.create_task(found.run())
    await until(lambda: leases.writes > 3)
    assert (found.reached, told) == (False, [])
    leases.asks = found.answer
    await until(lambda: found.reached)
    assert told == [True]
    assert leases.lease["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "kymograph"}
    assert leases.lease["spec"]["holderIdentity"] == "me"
    assert leases.lease["metadata"]["annotations"]["kymograph.dev/last-request-time"]
    task.cancel()


async def test_a_proof_lasts_for_a_while(made) -> None:
    """As in Kyverno: then nothing is added until there is another one."""
    found, leases, clock = made
    leases.asks = found.answer
    task = asyncio.create_task(found.run())
    await until(lambda: found.reached)
    leases.asks = None
    clock.now += reachability.LASTS + 1
    assert not found.reached
    told = []
    found.listen(lambda: told.append(1))
    leases.asks = found.answer
    await until(lambda: found.reached)
    assert told == [1]
    task.cancel()


async def test_an_api_server_that_fails_ends_nothing(made, caplog) -> None:
    """It is asked again, and the log says once why there are no webhooks."""
    found, leases, _ = made
    leases.failure = errors.Unreachable("refused")
    task = asyncio.create_task(found.run())
    await until(lambda: "does not reach the webhooks" in caplog.text)
    leases.failure, leases.asks = None, found.answer
    await until(lambda: found.reached)
    assert caplog.text.count("does not reach the webhooks") == 1
    task.cancel()


def test_what_is_no_review_is_refused(made) -> None:
    """Whoever calls it learns nothing else."""
    found, _, _ = made
    assert found.answer(server.Request("/mutate/reachability", b"{", 0)).status == 400
