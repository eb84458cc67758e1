"""Which roles a user has, by the bindings in the cluster, and when these are watched at all."""

import asyncio

import pytest

from kymograph.clients.kubernetes import errors, resources
from kymograph.controllers import policies
from kymograph.controllers.admission import facts, rolebindings
from kymograph.engine import errors as engine_errors
from kymograph.engine import exceptions, needs

USER = {"kind": "User", "name": "jane"}
GROUP = {"kind": "Group", "name": "ops"}
ACCOUNT = {"kind": "ServiceAccount", "name": "builder", "namespace": "ci"}
ACCOUNT_OF_HERE = {"kind": "ServiceAccount", "name": "builder"}


def binding(name, role, *subjects, namespace="", kind="", version=1):
    """A RoleBinding, or a ClusterRoleBinding where there is no namespace."""
    kind = kind or ("Role" if namespace else "ClusterRole")
    metadata = {"name": name, "resourceVersion": str(version), **({"namespace": namespace} if namespace else {})}
    return {"metadata": metadata, "roleRef": {"kind": kind, "name": role}, "subjects": list(subjects)}


def index_of(*documents):
    index = rolebindings.Index()
    for document in documents:
        put(index, document)
    return index


def put(index, document):
    metadata = document["metadata"]
    index.put((metadata.get("namespace", ""), metadata["name"]), rolebindings.read(document))


def asked(user="jane", *groups, namespace="shop"):
    return needs.UserRoles(user, groups, namespace)


BUILDER = "system:serviceaccount:ci:builder"


@pytest.mark.parametrize(
    ("document", "question", "roles", "cluster_roles"),
    [
        (binding("b", "editor", USER, namespace="shop"), asked(), ("shop:editor",), ()),
        (binding("b", "editor", USER, namespace="bank"), asked(), ("bank:editor",), ()),
        (binding("b", "editor", USER, namespace="bank"), asked(namespace=""), ("bank:editor",), ()),
        (binding("b", "view", USER, namespace="shop", kind="ClusterRole"), asked(), (), ("view",)),
        (binding("b", "view", USER, namespace="bank", kind="ClusterRole"), asked(), (), ()),
        (binding("b", "view", USER, namespace="bank", kind="ClusterRole"), asked(namespace=""), (), ()),
        (binding("b", "view", USER), asked(), (), ("view",)),
        (binding("b", "view", USER), asked(namespace=""), (), ("view",)),
        (binding("b", "view", USER), asked("joe"), (), ()),
        (binding("b", "view", USER), asked("joe", "jane"), (), ()),
        (binding("b", "view", {"kind": "User", "name": "*"}), asked(), (), ()),
        (binding("b", "view", GROUP), asked("joe", "staff", "ops"), (), ("view",)),
        (binding("b", "view", GROUP), asked("ops", "staff"), (), ()),
        (binding("b", "view", ACCOUNT), asked(BUILDER), (), ("view",)),
        (binding("b", "view", {"kind": "User", "name": BUILDER}), asked(BUILDER), (), ("view",)),
        (binding("b", "editor", ACCOUNT, namespace="shop"), asked(BUILDER), ("shop:editor",), ()),
        (binding("b", "editor", ACCOUNT_OF_HERE, namespace="ci"), asked(BUILDER), ("ci:editor",), ()),
        (binding("b", "editor", ACCOUNT_OF_HERE, namespace="shop"), asked(BUILDER), (), ()),
        (binding("b", "view", ACCOUNT_OF_HERE), asked(BUILDER), (), ()),
        (binding("b", "view"), asked(), (), ()),
    ],
)
def test_a_binding_counts_for_its_subjects_where_it_counts(document, question, roles, cluster_roles):
    """A Role counts everywhere under the name of its namespace; a ClusterRole bound in a namespace only there."""
    assert index_of(document).roles_of(question) == needs.Roles(roles, cluster_roles)


def test_a_binding_without_subjects_says_nothing():
    """The API server leaves an empty list out, or null."""
    document = binding("b", "view")
    for subjects in ({}, {"subjects": None}):
        without = {key: value for key, value in document.items() if key != "subjects"} | subjects
        assert index_of(without).roles_of(asked()) == needs.Roles((), ())


def test_roles_are_sorted_and_each_is_there_once():
    """The same request is told the same list, however the bindings came."""
    documents = [
        binding("1", "view", USER, GROUP),
        binding("2", "view", USER),
        binding("3", "admin", GROUP),
        binding("4", "view", USER, namespace="shop", kind="ClusterRole"),
        binding("5", "z", USER, namespace="shop"),
        binding("6", "a", GROUP, namespace="shop"),
    ]
    expected = needs.Roles(("shop:a", "shop:z"), ("admin", "view"))
    assert index_of(*documents).roles_of(asked("jane", "ops")) == expected
    assert index_of(*reversed(documents)).roles_of(asked("jane", "ops")) == expected


def test_what_is_bound_changes_with_the_bindings():
    """An answer given before is forgotten with the change."""
    index = index_of(binding("b", "view", USER))
    assert index.roles_of(asked()).cluster_roles == ("view",)
    put(index, binding("b", "edit", USER, GROUP))
    assert index.roles_of(asked()).cluster_roles == ("edit",)
    put(index, binding("b", "edit", GROUP))
    assert index.roles_of(asked()).cluster_roles == ()
    assert index.roles_of(asked("joe", "ops")).cluster_roles == ("edit",)
    index.put(("", "b"), None)
    assert index.roles_of(asked("joe", "ops")).cluster_roles == ()


def test_a_rolebinding_and_a_clusterrolebinding_of_one_name_are_two():
    index = index_of(binding("b", "editor", USER, namespace="shop"), binding("b", "view", USER))
    index.put(("shop", "b"), None)
    assert index.roles_of(asked()) == needs.Roles((), ("view",))


class Cluster:
    """Bindings as an API server would list and watch them; says who listed and who still watches."""

    def __init__(self, *documents):
        self.documents = list(documents)
        self.events = {resources.ROLE_BINDINGS: asyncio.Queue(), resources.CLUSTER_ROLE_BINDINGS: asyncio.Queue()}
        self.answering = asyncio.Event()
        self.answering.set()
        self.forbidden = False
        self.listed = []
        self.watched = set()

    async def pages(self, resource, **_):
        self.listed.append(resource.plural)
        await self.answering.wait()
        if self.forbidden:
            raise errors.Forbidden(403, "Forbidden", "not you")
        items = [each for each in self.documents if ("namespace" in each["metadata"]) == resource.namespaced]
        yield {"metadata": {"resourceVersion": "1"}, "items": items}

    async def watch(self, resource, _version, **_):
        self.watched.add(resource.plural)
        try:
            while True:
                yield await self.events[resource].get()
        finally:
            self.watched.discard(resource.plural)


def policy(*, version, exclude=None, message="no", admission=True):
    rule = {
        "name": "r",
        "match": {"any": [{"resources": {"kinds": ["ConfigMap"]}}]},
        "validate": {"message": message, "deny": {}},
        **({"exclude": exclude} if exclude else {}),
    }
    return {
        "apiVersion": "kyverno.io/v1",
        "kind": "ClusterPolicy",
        "metadata": {"name": "p", "uid": "u", "resourceVersion": str(version), "generation": version},
        "spec": {"background": not admission, "admission": admission, "rules": [rule]},
    }


LOOKING = {"any": [{"clusterRoles": ["view"]}]}


@pytest.fixture
async def watching():
    """Start watching a cluster for the policies of a store."""
    async with asyncio.TaskGroup() as group:
        tasks = []

        def start(cluster, store, excepted=None):
            made = rolebindings.RoleBindings(cluster, store, excepted)
            tasks.append(group.create_task(made.run()))
            return made

        yield start
        for task in tasks:
            task.cancel()


async def until(attempt):
    async with asyncio.timeout(60):
        while not attempt():  # noqa: ASYNC110 - any condition, not one event
            await asyncio.sleep(0.005)


async def test_bindings_are_watched_only_while_a_policy_looks_at_roles(watching, monkeypatch):
    """No work that no policy asked for; and what was asked for again within the linger goes on."""
    monkeypatch.setattr(rolebindings, "LINGER", 0.1)
    store, cluster = policies.PolicyStore(), Cluster(binding("b", "view", USER))
    made = watching(cluster, store)
    store.put(policy(version=1))
    await asyncio.sleep(0)
    assert (cluster.listed, made.at_hand(asked())) == ([], None)
    store.put(policy(version=2, exclude=LOOKING))
    assert await made.roles_of(asked()) == needs.Roles((), ("view",))
    assert made.at_hand(asked()) == needs.Roles((), ("view",))
    await until(lambda: cluster.watched == {"rolebindings", "clusterrolebindings"})
    store.put(policy(version=3))
    store.put(policy(version=4, exclude=LOOKING))
    store.put(policy(version=5))
    assert made.at_hand(asked()) is not None, "a review may still hold the policy that is gone"
    await until(lambda: not cluster.watched)
    assert (sorted(cluster.listed), made.at_hand(asked())) == (["clusterrolebindings", "rolebindings"], None)
    store.put(policy(version=6, exclude=LOOKING))
    assert (await made.roles_of(asked())).cluster_roles == ("view",)


class Excepted:
    """Exceptions that look at roles, once they do."""

    def __init__(self):
        self.current = exceptions.NONE
        self.listeners = []

    def listen(self, listener):
        self.listeners.append(listener)

    def change(self):
        filters = {"resources": {"kinds": ["Pod"]}, "clusterRoles": ["view"]}
        excepted = [{"policyName": "p", "ruleNames": ["r"]}]
        document = {
            "apiVersion": "kyverno.io/v2",
            "kind": "PolicyException",
            "metadata": {"name": "e", "namespace": "shop"},
            "spec": {"background": False, "exceptions": excepted, "match": {"any": [filters]}},
        }
        self.current = exceptions.Exceptions([exceptions.compile_exception(document)])
        for listener in self.listeners:
            listener()


async def test_bindings_are_watched_for_an_exception_too(watching):
    """It may be for the users of a role."""
    excepted = Excepted()
    made = watching(Cluster(binding("b", "view", USER)), policies.PolicyStore(), excepted)
    assert made.at_hand(asked()) is None
    excepted.change()
    assert (await made.roles_of(asked())).cluster_roles == ("view",)


async def test_a_policy_that_is_not_for_admission_asks_for_nothing(watching):
    store, cluster = policies.PolicyStore(), Cluster()
    watching(cluster, store)
    store.put(policy(version=1, message="{{ to_string(request) }}", admission=False))
    await asyncio.sleep(0)
    assert store.policies.policies[0].needs_roles
    assert cluster.listed == []
    store.put(policy(version=2, message="{{ to_string(request) }}"))
    await until(lambda: len(cluster.listed) == 2)


async def test_changes_are_followed(watching):
    store, cluster = policies.PolicyStore(), Cluster()
    made = watching(cluster, store)
    store.put(policy(version=1, exclude=LOOKING))
    assert (await made.roles_of(asked())).cluster_roles == ()
    events = cluster.events[resources.CLUSTER_ROLE_BINDINGS]
    events.put_nowait({"type": "ADDED", "object": binding("b", "view", USER, version=2)})
    await until(lambda: made.at_hand(asked()).cluster_roles == ("view",))
    events.put_nowait({"type": "DELETED", "object": binding("b", "view", USER, version=3)})
    await until(lambda: made.at_hand(asked()).cluster_roles == ())


async def test_a_review_waits_for_the_first_list(watching):
    """Half a list would spare nobody whom a policy excludes."""
    store, cluster = policies.PolicyStore(), Cluster(binding("b", "view", USER))
    cluster.answering.clear()
    made = watching(cluster, store)
    store.put(policy(version=1, exclude=LOOKING))
    waiting = asyncio.create_task(made.roles_of(asked()))
    await until(lambda: len(cluster.listed) == 2)
    assert not waiting.done()
    assert made.at_hand(asked()) is None
    cluster.answering.set()
    assert (await waiting).cluster_roles == ("view",)


async def test_patience_counts_from_the_first_need_not_from_each_review(watching, monkeypatch):
    """An operator that may not list bindings says so soon, and then at once."""
    monkeypatch.setattr(rolebindings, "PATIENCE", 0.05)
    store, cluster = policies.PolicyStore(), Cluster()
    cluster.forbidden = True
    made = watching(cluster, store)
    store.put(policy(version=1, exclude=LOOKING))
    with pytest.raises(rolebindings.Unknown, match="have not been read"):
        await made.roles_of(asked())
    late = asyncio.create_task(made.roles_of(asked()))
    for _ in range(20):
        await asyncio.sleep(0)
    assert late.done()
    assert isinstance(late.exception(), rolebindings.Unknown)


async def test_facts_answer_at_once_what_is_at_hand_and_say_why_where_nothing_is(watching, monkeypatch):
    """A need that is at hand makes no task of a review; one that cannot be met becomes the error of a rule."""
    monkeypatch.setattr(rolebindings, "PATIENCE", 0.05)
    store, cluster = policies.PolicyStore(), Cluster(binding("b", "view", USER))
    cluster.answering.clear()
    made = watching(cluster, store)
    store.put(policy(version=1, exclude=LOOKING))
    known = facts.ClusterFacts(None, None, None, made)
    gathered = needs.Facts()
    assert known.at_hand(asked(), gathered) is False
    await known.fetch(asked(), gathered)
    with pytest.raises(engine_errors.EvaluationError, match="the roles of the user are not known"):
        gathered.require(asked())
    cluster.answering.set()
    await until(lambda: made.at_hand(asked()) is not None)
    gathered = needs.Facts()
    assert known.at_hand(asked(), gathered) is True
    assert gathered.require(asked()) == needs.Roles((), ("view",))
