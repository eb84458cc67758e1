"""The store holds what the cluster holds, in whatever order it hears of it."""

import asyncio
import pathlib

import kopf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import traced
from fakes.stored import BROKEN, NO_LATEST, Lists, stored
from kymograph.clients.kubernetes import errors
from kymograph.controllers import policies, policytraces
from kymograph.engine import compile as compiler
from support import trees

KEY = policies.Key("ClusterPolicy", "", "p")


@pytest.fixture
def told():
    return []


@pytest.fixture
async def store(told):
    made = policies.PolicyStore()
    made.listen(lambda key, held: told.append((key.name, held and (held.generation, held.compiled is not None))))
    return made


@pytest.fixture
def compiled(monkeypatch):
    """The names of the policies compiled, in order."""
    names = []
    compile_policy = compiler.compile_policy

    def noted(document):
        names.append(document["metadata"]["name"])
        return compile_policy(document)

    monkeypatch.setattr(compiler, "compile_policy", noted)
    return names


def names(store) -> list[str]:
    return [each.key for each in store.policies.policies]


async def test_a_policy_is_compiled_enforced_and_told(store, told) -> None:
    """ClusterPolicies and Policies of the same name do not meet."""
    store.put(stored("p", 1))
    store.put(stored("p", 2, kind="Policy", namespace="ns", uid="other"))
    assert names(store) == ["p", "ns/p"]
    assert told == [("p", (1, True))] * 2


async def test_what_is_older_than_what_is_held_is_ignored(store, told) -> None:
    """A list that was read before an event may be put after it."""
    store.put(stored("p", 7, generation=2))
    store.put(stored("p", 6, generation=1))
    store.put(stored("p", 7, generation=2))
    assert told == [("p", (2, True))]


async def test_versions_are_numbers_not_text(store, told) -> None:
    """10 is newer than 9."""
    store.put(stored("p", 9))
    store.put(stored("p", 10, generation=2))
    assert told[-1] == ("p", (2, True))


async def test_a_deleted_policy_is_gone_and_stays_so(store, told) -> None:
    """A late echo of it does not bring it back."""
    store.put(stored("p", 1))
    store.drop(KEY, "uid-p")
    store.put(stored("p", 5))
    assert names(store) == []
    assert told == [("p", (1, True)), ("p", None)]


async def test_a_policy_made_again_under_the_same_name_replaces_the_old_one(store, told) -> None:
    """Whether or not the deletion between was seen; the deletion coming late does not touch the new one."""
    store.put(stored("p", 1, uid="first"))
    store.put(stored("p", 5, uid="second"))
    store.drop(KEY, "first")
    assert [held.uid for held in store.held] == ["second"]
    assert names(store) == ["p"]


async def test_an_old_incarnation_read_late_does_not_replace_the_new_one(store) -> None:
    """A page was read, the policy was deleted and made again, and only then the page was put."""
    store.put(stored("p", 9, uid="second"))
    store.put(stored("p", 3, uid="first"))
    assert [held.uid for held in store.held] == ["second"]


async def test_a_status_is_no_news(store, told, compiled) -> None:
    """Status writes, ours most of all, neither compile nor change the set; what is held has the new status."""
    store.put(stored("p", 1))
    before = store.policies
    store.put(stored("p", 2, status={"ready": True}))
    assert (compiled, len(told), store.policies is before) == (["p"], 1, True)
    assert store.held[0].document["status"] == {"ready": True}
    store.put(stored("p", 1))
    assert store.held[0].version == 2


@pytest.mark.parametrize("change", [{"labels": {"a": "b"}}, {"generation": 2}])
async def test_labels_and_specs_are_news(store, compiled, change) -> None:
    """Annotations and labels take part in compilation and change without a new generation."""
    store.put(stored("p", 1))
    store.put(stored("p", 2, **change))
    assert compiled == ["p", "p"]


async def test_each_change_makes_a_set_of_a_later_generation(store) -> None:
    """By the generation others wait for a change to be covered; the sets before stay as they were."""
    first = store.policies
    store.put(stored("p", 1))
    second = store.policies
    store.drop(KEY, "uid-p")
    assert first.generation < second.generation < store.policies.generation
    assert (len(first), len(second), len(store.policies)) == (0, 1, 0)


async def test_a_broken_policy_is_held_with_its_problems_and_not_enforced(store, told) -> None:
    """The others go on; repaired, it is enforced."""
    store.put(stored("good", 1))
    store.put(stored("p", 2, validate=BROKEN))
    (held,) = [held for held in store.held if held.key == KEY]
    assert (held.compiled, names(store)) == (None, ["good"])
    assert held.problems[0].path.startswith("spec.rules[0]")
    store.put(stored("p", 3, generation=2))
    assert names(store) == ["good", "p"]
    assert told == [("good", (1, True)), ("p", (1, False)), ("p", (2, True))]


async def test_a_broken_policy_in_a_good_ones_place_ends_its_enforcement(store, told) -> None:
    """The author's latest word cannot be followed; the one before is not what the cluster holds."""
    store.put(stored("p", 1))
    store.put(stored("p", 2, generation=2, validate=BROKEN))
    assert names(store) == []
    assert told[-1] == ("p", (2, False))


async def test_a_policy_that_breaks_the_compiler_is_not_enforced_and_says_so(store, caplog) -> None:
    """A defect of ours: one policy nested without measure must not keep the operator from starting."""
    deep: dict = {}
    for _ in range(5000):
        deep = {"a": deep}
    store.put(stored("p", 1, validate={"pattern": deep}))
    (held,) = store.held
    assert held.compiled is None
    assert held.problems


async def test_a_load_takes_in_what_is_new_and_sweeps_what_is_gone(store, told) -> None:
    """And completes the store, before which nothing may be served."""
    store.put(stored("gone", 1))
    assert not store.complete.is_set()
    await store.load(Lists(clusterpolicies=[stored("p", 2)], policies=[]))
    assert (names(store), store.complete.is_set()) == (["p"], True)
    assert told[-1] == ("gone", None)


async def test_a_kind_that_is_not_installed_counts_as_empty(store) -> None:
    """Policy CRDs may come later than the operator, and go."""
    store.put(stored("gone", 1))
    await store.load(Lists())
    assert (names(store), store.complete.is_set()) == ([], True)


async def test_what_watches_tell_during_a_load_wins_over_the_list(store) -> None:
    """Made, changed, deleted and made again between the list and its reading."""
    lists = Lists(
        clusterpolicies=[stored("changed", 3), stored("deleted", 4), stored("again", 5, uid="first")], policies=[]
    )
    store.put(stored("deleted", 4))
    store.put(stored("again", 5, uid="first"))

    def happens():
        lists.between.clear()
        store.put(stored("made", 10))
        store.put(stored("changed", 11, generation=2))
        store.drop(policies.Key("ClusterPolicy", "", "deleted"), "uid-deleted")
        store.put(stored("again", 12, uid="second"))

    lists.between = [happens]
    await store.load(lists)
    assert {(held.key.name, held.uid, held.version) for held in store.held} == {
        ("made", "uid-made", 10),
        ("changed", "uid-changed", 11),
        ("again", "second", 12),
    }


async def test_a_load_that_fails_completes_nothing(store) -> None:
    """And drops nothing."""
    store.put(stored("p", 1))
    lists = Lists(clusterpolicies=[], policies=[])
    lists.failures = [errors.Unreachable("refused")]
    with pytest.raises(errors.Unreachable):
        await store.load(lists)
    assert (names(store), store.complete.is_set()) == (["p"], False)


async def test_it_keeps_itself_true(store, monkeypatch) -> None:
    """Tries again after a failure, now and then in any case, and at once when a watch may have missed something."""
    monkeypatch.setattr(policies, "RETRY_AFTER", 0.001)
    lists = Lists(clusterpolicies=[stored("p", 1)], policies=[])
    lists.failures = [errors.Unreachable("refused"), errors.Expired(410, "Expired", "")]
    keeping = asyncio.create_task(store.keep_true(lists))
    async with asyncio.timeout(60):
        await store.complete.wait()
        assert lists.listed == ["clusterpolicies"] * 3 + ["policies"]
        lists.documents["clusterpolicies"] = []
        store.suspect()
        while names(store):  # noqa: ASYNC110 - the store tells nobody
            await asyncio.sleep(0.001)
        monkeypatch.setattr(policies, "SWEEP_EVERY", 0.001)
        store.suspect()
        lists.listed.clear()
        while len(lists.listed) < 6:  # noqa: ASYNC110 - the store tells nobody
            await asyncio.sleep(0.001)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def test_kopfs_watches_feed_the_store(store) -> None:
    """Both kinds; a relist (no type) of a complete store is cause for suspicion, because it reports no deletions."""
    registry = kopf.OperatorRegistry()
    policies.register(registry, store)
    handlers = {handler.id: handler.fn for handler in registry._watching.get_all_handlers()}
    assert set(handlers) == {"watch-clusterpolicy", "watch-policy"}
    tell = handlers["watch-clusterpolicy"]
    document = stored("p", 1)
    await tell(event={"type": None, "object": document})
    assert (names(store), store._suspicious.is_set()) == (["p"], False)
    store.complete.set()
    await tell(event={"type": None, "object": document})
    assert store._suspicious.is_set()
    await tell(event={"type": "DELETED", "object": document})
    assert names(store) == []


HISTORY = [
    ("put", stored("p", 1, uid="a")),
    ("put", stored("p", 2, uid="a", generation=2)),
    ("drop", "a"),
    ("put", stored("p", 5, uid="b")),
    ("put", stored("p", 6, uid="b", generation=2, validate={**NO_LATEST, "message": "Other."})),
]


@given(st.permutations(HISTORY))
def test_any_order_of_the_same_news_ends_in_the_same_state(history) -> None:
    """Lists and watches of two kinds of connection overtake each other."""

    async def play():
        store = policies.PolicyStore()
        for what, content in history:
            if what == "put":
                store.put(content)
            else:
                store.drop(KEY, content)
        return store

    store = asyncio.run(play())
    assert [(held.uid, held.version) for held in store.held] == [("b", 6)]
    assert names(store) == ["p"]


def test_every_policy_may_be_made_to_fail_open() -> None:
    """`--force-failure-policy-ignore`: webhooks and reviews see it as its author had written `Ignore`."""
    documents = [stored("a", 1), stored("b", 2)]
    made = policies.PolicyStore(ignores_failures=True)
    for document in documents:
        made.put(document)
    assert {each.failure_policy for each in made.policies.policies} == {"Ignore"}


async def test_the_tree_of_a_compilation() -> None:
    """See `compilation.tree`: one that compiles and one that does not."""
    async with traced.kept() as kept:
        store = policies.PolicyStore()
        made = policytraces.Compilations(store, kept.telemetry.tracer_for("admission"))
        store.put(stored("good", 1))
        store.put(stored("bad", 2, validate={"message": "neither a pattern nor a condition"}))
        store.put(stored("good", 3, status={"ready": True}))
        trees.compare(pathlib.Path(__file__).with_name("compilation.tree"), kept.finished())
        good, bad = kept.finished()
        key = policies.Key("ClusterPolicy", "", "good")
        assert made.of(key).span_id == good.context.span_id
        assert [each.span_id for each in made.take()] == [good.context.span_id, bad.context.span_id]
        assert made.take() == ()
        store.drop(key, next(held.uid for held in store.held if held.key == key))
        assert made.of(key) is None
