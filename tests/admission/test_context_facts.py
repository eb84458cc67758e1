"""What contexts ask for is answered from memory where it is there, else by a client, and a failure is a fact."""

import asyncio

import pytest

from fakes.collection import Collection
from kymograph.clients.http import errors as http_errors
from kymograph.clients.kubernetes import errors, informer, resources
from kymograph.clients.registry import errors as registry_errors
from kymograph.controllers.admission import facts
from kymograph.engine import errors as engine_errors
from kymograph.engine import needs


class World:
    """Stands for every client; answers what it is told, or raises it, and remembers what it was asked."""

    def __init__(self):
        self.answers = {}
        self.asked = []

    def _answer(self, what):
        self.asked.append(what)
        answer = self.answers[what]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def get(self, resource, name, *, namespace=""):
        return self._answer((resource.plural, namespace, name))

    async def request(self, path, *, limit, method, body):
        return self._answer((path, limit, method, body))

    async def call(self, need):
        return self._answer(need)

    async def image(self, need):
        return self._answer(need)

    def at_hand(self, name):
        raise LookupError(name)

    async def wait(self, name):
        return self._answer(name)


@pytest.fixture
def world():
    return World()


@pytest.fixture
def config_maps():
    return informer.Informer(Collection(), resources.CONFIG_MAPS)


@pytest.fixture
def context(world, config_maps):
    calls = facts.Calls(world, world, 1000)
    return facts.ContextFacts(world, config_maps, calls, world, world, now=lambda: 7, randomness=bytes)


async def test_time_and_chance_are_at_hand(context) -> None:
    """One moment and one seed for an evaluation."""
    known = needs.Facts()
    assert context.at_hand(needs.Now(), known)
    assert context.at_hand(needs.Seed(), known)
    assert known.require(needs.Now()) == 7
    assert known.require(needs.Seed()) == bytes(32)


async def test_a_labelled_config_map_is_at_hand(context, config_maps, world) -> None:
    """Others are read."""
    need, known = needs.ConfigMap("shop", "teams"), needs.Facts()
    assert not context.at_hand(need, known)
    config_maps.objects["shop", "teams"] = {"metadata": {}, "data": {"a": "b"}}
    assert context.at_hand(need, known)
    assert known.require(need)["data"] == {"a": "b"}
    assert not world.asked


async def test_the_informer_keeps_what_policies_see() -> None:
    """Metadata and data, nothing else."""
    cluster = Collection()
    await cluster.put("teams", data={"a": "b"}, kind="ConfigMap")
    kept = facts.config_maps(cluster)
    task = asyncio.create_task(kept.run())
    await kept.synced.wait()
    task.cancel()
    assert set(kept.objects["ns", "teams"]) == {"metadata", "data"}


@pytest.mark.parametrize(
    ("need", "asked", "answer", "value"),
    [
        (
            needs.ConfigMap("shop", "teams"),
            ("configmaps", "shop", "teams"),
            {"kind": "ConfigMap", "metadata": {"name": "teams"}, "data": {"a": "b"}},
            {"metadata": {"name": "teams"}, "data": {"a": "b"}},
        ),
        (
            needs.ConfigMap("shop", "empty"),
            ("configmaps", "shop", "empty"),
            {"metadata": {"name": "empty"}},
            {"metadata": {"name": "empty"}, "data": None},
        ),
        (needs.APICall("/api/v1/pods"), ("/api/v1/pods", 1000, "GET", b""), {"items": []}, {"items": []}),
        (needs.APICall("/a", "POST", b"{}"), ("/a", 1000, "POST", b"{}"), None, None),
        (needs.ServiceCall("http://a"), needs.ServiceCall("http://a"), [1], [1]),
        (needs.ImageData("nginx"), needs.ImageData("nginx"), {"image": "nginx"}, {"image": "nginx"}),
        (needs.GlobalEntry("teams.names"), "teams.names", ["a"], ["a"]),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_each_need_is_answered_by_whoever_knows(context, world, need, asked, answer, value) -> None:
    """In the shape that the need describes."""
    world.answers[asked] = answer
    known = needs.Facts()
    await context.fetch(need, known)
    assert known.require(need) == value
    assert world.asked == [asked]


@pytest.mark.parametrize(
    ("need", "failure", "said"),
    [
        (needs.APICall("/a"), errors.Forbidden(403, "Forbidden", "no"), "permission denied: no"),
        (needs.APICall("/a"), errors.NotFound(404, "NotFound", 'pods "a" not found'), 'pods "a" not found'),
        (needs.APICall("/a"), errors.Unreachable("refused"), "refused"),
        (needs.ServiceCall("http://a"), http_errors.StatusError(500, "HTTP 500 : x"), "HTTP 500 : x"),
        (needs.ServiceCall("http://a"), http_errors.AddressRefused("loopback"), "loopback"),
        (needs.ImageData("a"), registry_errors.ImageUnavailable("gone"), "gone"),
        (needs.GlobalEntry("a"), LookupError("failed to fetch entry key=a"), "failed to fetch entry key=a"),
    ],
)
async def test_a_failure_is_a_fact_that_says_why(context, world, need, failure, said) -> None:
    """The evaluation that asked ends in that error, or uses its default."""
    asked = {needs.APICall: ("/a", 1000, "GET", b""), needs.GlobalEntry: "a"}.get(type(need), need)
    world.answers[asked] = failure
    known = needs.Facts()
    await context.fetch(need, known)
    with pytest.raises(engine_errors.EvaluationError) as raised:
        known.require(need)
    assert str(raised.value) == said


async def test_addresses_of_a_host_are_looked_up(context) -> None:
    """None for a name that resolves to none."""
    known = needs.Facts()
    for host in ("localhost", "nowhere.invalid"):
        await context.fetch(needs.HostAddresses(host), known)
    assert "127.0.0.1" in known.require(needs.HostAddresses("localhost"))
    assert known.require(needs.HostAddresses("nowhere.invalid")) == ()


async def test_what_nobody_knows_is_said_to_be_unknown(context) -> None:
    """A need of a class that came later is no crash."""
    need, known = needs.NamespaceLabels("a"), needs.Facts()
    await context.fetch(need, known)
    with pytest.raises(engine_errors.EvaluationError, match="NamespaceLabels is not available here"):
        known.require(need)
