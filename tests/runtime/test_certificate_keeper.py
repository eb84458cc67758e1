"""What is served and what is announced, while the Secret changes: at no moment is the one not trusted by the other."""

import asyncio
import datetime as dt
import pathlib

import pytest
from cryptography import x509
from opentelemetry import trace

from fakes import traced
from kymograph.runtime import certificates
from kymograph.runtime.certificates import keeper as keeping
from kymograph.telemetry import work
from support import trees

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
NAMES = certificates.Names(dns=("localhost",))


class World:
    """A Secret, webhook configurations that a leader writes after a while, and a server, at one moment in time."""

    def __init__(self, tracer: trace.Tracer | None = None, counted: work.Work | None = None) -> None:
        self.now = NOW
        self.stored: certificates.Stored | None = None
        self.announced = b""
        self.in_force = b""
        self.served: certificates.Bundle | None = None
        self.leader_writes = True
        self.history: list[str] = []
        self.keeper = keeping.Keeper(
            certificates.Manager(self, NAMES, lambda: self.now),
            NAMES,
            lambda: self.now,
            self.serve,
            self.announce,
            self.trusted,
            (OSError,),
            tracer or trace.NoOpTracer(),
            counted,
        )

    async def read(self):
        return self.stored

    async def write(self, data, annotations, version):
        kept = self.stored.annotations if self.stored else {}
        self.stored = certificates.Stored(data, f"{version}+", {**kept, **annotations})

    async def serve(self, bundle):
        self.served = bundle
        self.history.append("served")

    async def announce(self, authorities):
        self.announced = authorities
        self.history.append("announced")

    async def trusted(self, authority):
        if not self.leader_writes:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        self.in_force = self.announced
        assert authority in self.in_force
        self.history.append("in force")

    def ask(self, value: str) -> None:
        self.stored = certificates.Stored(self.stored.data, f"{self.stored.version}+", {"kymograph.dev/rotate": value})

    def verifies(self, bundle, trusted: bytes) -> bool:
        store = x509.verification.Store(x509.load_pem_x509_certificates(trusted))
        verifier = x509.verification.PolicyBuilder().store(store).time(self.now)
        leaf = x509.load_pem_x509_certificate(bundle.serving.certificate)
        try:
            verifier.build_server_verifier(x509.DNSName("localhost")).verify(leaf, [])
        except x509.verification.VerificationError:
            return False
        return True


@pytest.fixture
async def world(monkeypatch):
    """A server with a certificate that is trusted; waits that are for other machines are cut short."""
    monkeypatch.setattr(keeping, "LEARNT", 0.0)
    monkeypatch.setattr(keeping, "SETTLE", 0.0)
    made = World()
    assert await made.keeper.look()
    made.in_force = made.announced
    made.history.clear()
    return made


async def test_at_the_start_authorities_are_announced_before_the_certificate_is_served():
    world = World()
    assert await world.keeper.look()
    assert world.history == ["announced", "served"]
    assert world.verifies(world.served, world.announced)


async def test_nothing_happens_while_nothing_changes(world):
    assert await world.keeper.look()
    assert world.history == []


async def test_a_new_certificate_of_the_same_authority_is_served_at_once(world):
    world.ask("today")
    assert await world.keeper.look()
    assert world.history == ["served"]
    assert world.verifies(world.served, world.in_force)


async def test_a_new_authority_is_in_force_beside_the_old_one_before_its_certificate_is_served(world):
    before = world.served
    world.ask("ca")
    assert await world.keeper.look()
    assert world.history == ["announced", "in force", "served"]
    assert world.verifies(world.served, world.in_force)
    assert world.verifies(before, world.in_force)


@pytest.mark.parametrize("loss", [None, certificates.Stored({"tls.crt": "rubbish"}, "9")])
async def test_a_lost_secret_is_healed_without_a_moment_of_mistrust(world, loss):
    before, world.stored = world.served, loss
    assert await world.keeper.look()
    assert world.history == ["announced", "in force", "served"]
    assert world.verifies(world.served, world.in_force)
    assert world.verifies(before, world.in_force)
    assert certificates.from_secret(world.stored.data) == world.served


async def test_while_nobody_writes_the_configurations_the_old_certificate_serves_on(world, monkeypatch):
    before = world.served
    monkeypatch.setattr(keeping, "TRUSTED_WITHIN", 0.05)
    world.leader_writes = False
    world.ask("ca")
    assert not await world.keeper.look()
    assert world.served == before
    world.leader_writes = True
    monkeypatch.setattr(keeping, "TRUSTED_WITHIN", 60.0)
    assert await world.keeper.look()
    assert world.served != before


async def test_a_certificate_that_nobody_accepts_is_replaced_without_waiting(world):
    """The clock of the API server stands where the authority has ended: the old certificate serves nobody."""
    world.leader_writes = False
    world.now += dt.timedelta(days=4000)
    assert await world.keeper.look()
    assert world.history == ["announced", "served"]
    assert world.verifies(world.served, world.announced)


async def test_a_bundle_that_somebody_put_there_is_taken_over(world, monkeypatch):
    """With its authority beside ours, until the other replicas serve with it too."""
    before = world.served
    theirs = certificates.renew(None, NAMES, NOW)
    world.stored = certificates.Stored(certificates.to_secret(theirs), "50")
    assert await world.keeper.look()
    assert world.served == theirs
    assert world.verifies(before, world.in_force)
    monkeypatch.setattr(keeping, "OTHERS_FOLLOW", 0.0)
    assert await world.keeper.look()
    assert world.announced == theirs.authorities


def failing(world, *failures):
    """Have the next reads fail; what is left of their failures."""
    read, left = world.read, list(failures)

    async def fail():
        if left:
            raise left.pop()
        return await read()

    world.read = fail
    return left


async def test_a_touch_is_answered_at_once_and_failures_are_tried_again(world, monkeypatch):
    monkeypatch.setattr(keeping, "RETRY_AFTER", 0.0)
    failures = failing(world, OSError("refused"), certificates.Conflict("again"))
    running = asyncio.create_task(world.keeper.run())
    before, world.stored = world.served, None
    world.keeper.touched()
    async with asyncio.timeout(30):
        while world.served == before:  # noqa: ASYNC110 - the keeper has no event for it
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not failures


async def test_the_tree_of_looks():
    """See `certificate.tree`: the first, one that finds nothing new, and one that cannot read the Secret."""
    async with traced.kept() as kept:
        world = World(kept.telemetry.tracer)
        await world.keeper.look()
        await world.keeper.look()

        async def unreachable():
            raise OSError("refused")

        world.read = unreachable
        with pytest.raises(OSError, match="refused"):
            await world.keeper.look()
        trees.compare(pathlib.Path(__file__).with_name("certificate.tree"), kept.finished())


async def test_looks_are_counted_and_failures_as_tried_again(monkeypatch):
    """Under Kyverno's name for who keeps certificates."""
    monkeypatch.setattr(keeping, "RETRY_AFTER", 0.0)
    async with traced.kept() as kept:
        world = World(counted=kept.telemetry.work("certmanager-controller"))
        failing(world, OSError("refused"), OSError("refused"))
        running = asyncio.create_task(world.keeper.run())
        world.keeper.touched()
        async with asyncio.timeout(30):
            while world.served is None:  # noqa: ASYNC110 - the keeper has no event for it
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        scraped = kept.scrape()
    told = 'controller_reconcile_duration_seconds_count{controller_name="certmanager-controller",outcome="%s"}'
    assert (scraped[told % "OSError"], scraped[told % "success"]) == (2, 1)
    again = 'controller_requeue_total{controller_name="certmanager-controller",num_requeues="%d"}'
    assert (scraped[again % 1], scraped[again % 2]) == (1, 1)
