"""The informer keeps what the cluster has, whatever happens on the way; against a fake first, then for real."""

import asyncio
import dataclasses

import pytest

from fakes.collection import Collection
from kymograph.clients.kubernetes import connection, errors, informer, resources
from support.relay import Relay

CONFIG_MAPS = resources.Resource("", "v1", "configmaps", "ConfigMap", namespaced=True)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Try again at once."""
    monkeypatch.setattr(informer, "BACKOFF_FIRST", 0.001)
    monkeypatch.setattr(informer, "BACKOFF_MOST", 0.002)
    monkeypatch.setattr(informer, "SHORTEST_WATCH", 0.001)


@pytest.fixture
async def running():
    """Run informers for the length of a test; one that ends fails it."""
    tasks = []

    def run(made):
        tasks.append(asyncio.create_task(made.run()))

    yield run
    for task in tasks:
        assert not task.done(), task
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition, seconds=60.0) -> None:
    """Wait for what tasks of this loop bring about."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is looked at has no event
            await asyncio.sleep(0.005)


def names(made) -> list[str]:
    return sorted(name for _, name in made.objects)


async def test_all_pages_are_there_before_it_is_synced(running) -> None:
    """Whoever waits for `synced` sees every object."""
    made = informer.Informer(Collection("a", "b", "c", "d", "e"), CONFIG_MAPS)
    assert not made.synced.is_set()
    running(made)
    await made.synced.wait()
    assert names(made) == ["a", "b", "c", "d", "e"]


async def test_changes_come_as_they_happen_and_are_told_once(running) -> None:
    """Of an object is kept, and told, what the projection makes of it: what does not change that is no news."""
    told = []
    there = Collection("a")
    made = informer.Informer(
        there,
        CONFIG_MAPS,
        project=lambda document: document.get("colour"),
        changed=lambda key, value: told.append((key[1], value)),
    )
    running(made)
    await made.synced.wait()
    await there.put("b", colour="red")
    await there.put("b", colour="red", size=7)
    await there.put("b", colour="blue")
    await there.remove("a")
    await until(lambda: len(told) == 4)
    assert told == [("a", None), ("b", "red"), ("b", "blue"), ("a", None)]
    assert made.objects == {("ns", "b"): "blue"}


async def test_an_object_projected_to_nothing_is_kept_all_the_same(running) -> None:
    """None is a value; its deletion is told."""
    told = []
    there = Collection("a")
    made = informer.Informer(
        there, CONFIG_MAPS, project=lambda _: None, changed=lambda key, _: told.append((key[1], key in made.objects))
    )
    running(made)
    await made.synced.wait()
    await there.remove("a")
    await until(lambda: len(told) == 2)
    assert told == [("a", True), ("a", False)]


async def test_a_watch_that_ends_goes_on_from_the_latest_bookmark(running) -> None:
    """The API server ends every watch after minutes; nothing is listed for it."""
    there = Collection("a")
    made = informer.Informer(there, CONFIG_MAPS)
    running(made)
    await made.synced.wait()
    await there.bookmark()
    bookmark = str(there.version)
    await there.break_watches(None)
    await until(lambda: len(there.watched) > 1)
    assert there.watched[1] == bookmark
    assert there.listed == 1


async def test_a_lost_connection_is_taken_up_where_it_broke(running) -> None:
    """Nobody's lists are paid for a network that blinks."""
    there = Collection("a")
    made = informer.Informer(there, CONFIG_MAPS)
    running(made)
    await made.synced.wait()
    await until(lambda: there.watched)
    there.refusing = [errors.Unreachable("refused")] * 5
    await there.break_watches(errors.Unreachable("reset"))
    await there.put("b")
    await until(lambda: names(made) == ["a", "b"])
    assert there.listed == 1


@pytest.mark.parametrize(
    "error", [errors.Expired(410, "Expired", "too old"), errors.NotFound(404, "", ""), errors.AnswerInvalid("html")]
)
async def test_a_gap_is_closed_by_a_list_that_sweeps_what_is_gone(running, error) -> None:
    """Deletions that no watch told of are found, and told."""
    gone = []
    there = Collection("a", "b", "c")
    made = informer.Informer(
        there, CONFIG_MAPS, changed=lambda key, value: gone.append(key[1]) if value is None else None
    )
    running(made)
    await made.synced.wait()
    await until(lambda: there.watched)
    await there.remove("b", silently=True)
    await there.put("d", silently=True)
    await there.break_watches(error)
    await until(lambda: names(made) == ["a", "c", "d"])
    assert (gone, there.listed) == (["b"], 2)


async def test_a_list_that_fails_is_tried_again(running) -> None:
    """Also the first one, also one that expires half-way; until then it is not synced."""
    there = Collection("a")
    there.refusing = [errors.Unreachable("refused"), errors.Expired(410, "Expired", ""), errors.Forbidden(403, "", "")]
    made = informer.Informer(there, CONFIG_MAPS)
    running(made)
    await made.synced.wait()
    assert (names(made), there.listed) == (["a"], 4)


async def test_a_server_that_fails_for_long_is_asked_less_often(running, monkeypatch) -> None:
    """The pause doubles, with jitter, up to the most."""
    pauses = []
    sleep = asyncio.sleep

    async def noted(seconds):
        pauses.append(seconds)
        await sleep(0)

    there = Collection()
    there.refusing = [errors.Unreachable("refused")] * 8
    monkeypatch.setattr(informer, "BACKOFF_FIRST", 1.0)
    monkeypatch.setattr(informer, "BACKOFF_MOST", 8.0)
    monkeypatch.setattr(informer.random, "uniform", lambda low, high: (low + high) / 2)
    made = informer.Informer(there, CONFIG_MAPS)
    monkeypatch.setattr(informer.asyncio, "sleep", noted)
    task = asyncio.create_task(made.run())
    await made.synced.wait()
    task.cancel()
    assert [pause for pause in pauses if pause] == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0, 8.0]


async def test_it_follows_the_real_api_server_through_a_cut(
    client, connect, running, cluster, kubeconfig, config_map, namespace, exported
) -> None:
    """Connections reset and refused for a while, as in an API server's restart; one list is all it takes."""
    local = connection.from_kubeconfig(kubeconfig)
    async with Relay(int(cluster.url.rpartition(":")[2])) as relay:
        through = dataclasses.replace(local, server=f"https://127.0.0.1:{relay.port}")
        await client.create(CONFIG_MAPS, config_map("a", labels={"seen": "yes"}), namespace=namespace)
        made = informer.Informer(
            connect(through), CONFIG_MAPS, label_selector="seen=yes", namespace=namespace, metadata_only=True
        )
        running(made)
        await made.synced.wait()
        await client.create(CONFIG_MAPS, config_map("b", labels={"seen": "yes"}), namespace=namespace)
        await until(lambda: names(made) == ["a", "b"])

        await relay.cut()
        await client.delete(CONFIG_MAPS, "a", namespace=namespace)
        await client.create(CONFIG_MAPS, config_map("c", labels={"seen": "yes"}), namespace=namespace)
        await client.create(CONFIG_MAPS, config_map("unseen"), namespace=namespace)
        await relay.restore()

        await until(lambda: names(made) == ["b", "c"])
        assert all("data" not in document for document in made.objects.values())
    assert exported.names().count("KUBE list configmaps") == 1
