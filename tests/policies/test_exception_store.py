"""Exceptions are true to the cluster, count where they may, and are replaced as a whole."""

import asyncio

import pytest

from fakes.collection import Collection
from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.controllers import exceptions
from kymograph.engine import errors

SPEC = {
    "exceptions": [{"policyName": "p", "ruleNames": ["r"]}],
    "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
}
BY_ROLE = {**SPEC, "background": False, "match": {"any": [{**SPEC["match"]["any"][0], "clusterRoles": ["admin"]}]}}


def exception(namespace="ns", spec=SPEC):
    return {
        "apiVersion": "kyverno.io/v2",
        "kind": "PolicyException",
        "metadata": {"name": "e", "namespace": namespace},
        "spec": spec,
    }


@pytest.fixture
def cluster():
    return Collection()


@pytest.fixture
async def follow(cluster):
    """Make stores that follow the cluster; changes are told to a queue."""
    tasks = []

    def start(namespace="*"):
        store = exceptions.ExceptionStore(cluster, namespace)
        changes = asyncio.Queue()
        store.listen(lambda: changes.put_nowait(None))
        tasks.append(asyncio.create_task(store.run()))
        return store, changes.get

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def keys(store):
    return [each.key for each in store.current.of("p")]


async def test_exceptions_follow_the_cluster(cluster, follow) -> None:
    """Made, changed and deleted; a review keeps the set it began with."""
    await cluster.put("first", spec=SPEC)
    store, changed = follow()
    await store.listed()
    before = store.current
    assert keys(store) == ["ns/first"]
    await changed()
    await cluster.put("second", spec=SPEC)
    await changed()
    assert keys(store) == ["ns/first", "ns/second"]
    await cluster.put("first", spec={**SPEC, "exceptions": [{"policyName": "other", "ruleNames": ["r"]}]})
    await changed()
    assert keys(store) == ["ns/second"]
    await cluster.remove("second")
    await changed()
    assert keys(store) == []
    assert [each.key for each in before.of("p")] == ["ns/first"]


async def test_an_exception_that_does_not_compile_excepts_nothing(cluster, follow, caplog) -> None:
    """Nor does what it was before; the others go on."""
    await cluster.put("odd", spec=SPEC)
    await cluster.put("fine", spec=SPEC)
    store, changed = follow()
    await store.listed()
    assert keys(store) == ["ns/fine", "ns/odd"]
    await changed()
    await changed()
    await cluster.put("odd", spec={**SPEC, "match": {}})
    await changed()
    assert keys(store) == ["ns/fine"]
    assert "PolicyException ns/odd does not compile" in caplog.text


async def test_a_burst_of_changes_makes_one_set(cluster, follow) -> None:
    """Only a set that is looked at is made."""
    for number in range(20):
        await cluster.put(f"e{number}", spec=SPEC)
    store, _ = follow()
    await store.listed()
    assert len(keys(store)) == 20
    assert store.current is store.current


async def test_where_exceptions_are_off_none_is_read(cluster, follow) -> None:
    """And nobody waits for them."""
    await cluster.put("e", spec=SPEC)
    store, _ = follow(namespace=None)
    await store.listed()
    assert not store.current
    assert cluster.listed == 0


async def test_serving_does_not_wait_for_ever(cluster, follow, monkeypatch, caplog) -> None:
    """A cluster without the kind denies more than it should, which is safe."""
    monkeypatch.setattr(exceptions, "PATIENCE", 0.01)
    cluster.refusing = [kubernetes_errors.NotFound(404, "NotFound", "no such kind")] * 1_000
    store, _ = follow()
    await store.listed()
    assert "cannot be listed" in caplog.text


@pytest.mark.parametrize(
    ("counts_in", "namespace", "warned"),
    [
        ("*", "anywhere", ()),
        ("ns", "ns", ()),
        ("ns", "other", ("PolicyException resource namespace must match the defined namespace.",)),
        (None, "ns", ("PolicyException resources would not be processed until it is enabled.",)),
    ],
)
async def test_who_writes_an_exception_that_does_not_count_is_warned(cluster, counts_in, namespace, warned) -> None:
    """In Kyverno's words; it is not refused."""
    assert exceptions.ExceptionStore(cluster, counts_in).check(exception(namespace)) == warned


async def test_an_exception_that_cannot_be_read_is_refused_with_the_field(cluster) -> None:
    """Whatever would make it be about more, or less, than its author wrote."""
    with pytest.raises(errors.PolicyInvalid, match=r"spec\.exceptions"):
        exceptions.ExceptionStore(cluster, "*").check(exception(spec={**SPEC, "exceptions": []}))


async def test_an_exception_from_controls_of_containers_is_refused_without_images(cluster) -> None:
    """As by Kyverno's webhook: without images it would be about no container."""
    controls = [{"controlName": "Capabilities"}]
    with pytest.raises(errors.PolicyInvalid, match=r"spec\.podSecurity\[0\]\.controlName: exclude\.images must be"):
        exceptions.ExceptionStore(cluster, "*").check(exception(spec={**SPEC, "podSecurity": controls}))


async def test_exceptions_know_that_they_look_at_roles(cluster, follow) -> None:
    """Bindings are watched for them, too."""
    await cluster.put("by-role", spec=BY_ROLE)
    store, _ = follow()
    await store.listed()
    assert store.current.needs_roles
