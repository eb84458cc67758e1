"""The client against the real API server: every verb, every error by who has to react, pages, watches."""

import asyncio
import dataclasses
import json
import uuid

import pytest

from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import connection, errors, resources
from support import kinds

CONFIG_MAPS = resources.Resource("", "v1", "configmaps", "ConfigMap", namespaced=True)


async def test_an_object_is_created_read_replaced_patched_and_deleted(client, config_map, namespace) -> None:
    """What each call gives back is the object as the API server holds it."""
    created = await client.create(CONFIG_MAPS, config_map("a", {"x": "1"}), namespace=namespace)
    assert await client.get(CONFIG_MAPS, "a", namespace=namespace) == created

    updated = await client.update(CONFIG_MAPS, {**created, "data": {"x": "2"}}, namespace=namespace)
    assert updated["data"] == {"x": "2"}

    merged = await client.merge(CONFIG_MAPS, "a", {"data": {"x": None, "y": "3"}}, namespace=namespace)
    assert merged["data"] == {"y": "3"}

    await client.delete(CONFIG_MAPS, "a", namespace=namespace)
    with pytest.raises(errors.NotFound):
        await client.get(CONFIG_MAPS, "a", namespace=namespace)


async def test_metadata_only_brings_no_body(client, config_map, namespace) -> None:
    """PartialObjectMetadata, for an object and for a list."""
    await client.create(CONFIG_MAPS, config_map("a", {"x": "1"}), namespace=namespace)
    document = await client.get(CONFIG_MAPS, "a", namespace=namespace, metadata_only=True)
    assert (document["kind"], document["metadata"]["name"], "data" in document) == ("PartialObjectMetadata", "a", False)
    pages = [page async for page in client.pages(CONFIG_MAPS, namespace=namespace, metadata_only=True)]
    assert all("data" not in item for page in pages for item in page["items"])


async def test_a_write_may_be_answered_with_metadata_only(client, config_map, namespace) -> None:
    """What is stored is whole."""
    created = await client.create(CONFIG_MAPS, config_map("a", {"x": "1"}), namespace=namespace, metadata_only=True)
    applied = await client.apply(CONFIG_MAPS, config_map("a", {"y": "2"}), namespace=namespace, metadata_only=True)
    assert [(each["metadata"]["name"], "data" in each) for each in (created, applied)] == [("a", False)] * 2
    assert (await client.get(CONFIG_MAPS, "a", namespace=namespace))["data"] == {"x": "1", "y": "2"}


async def test_apply_creates_owns_its_fields_and_takes_them_back(client, config_map, namespace) -> None:
    """Server-side apply with force: others' fields stay, ours are as we say."""
    await client.apply(CONFIG_MAPS, config_map("a", {"ours": "1"}), namespace=namespace)
    await client.merge(CONFIG_MAPS, "a", {"data": {"ours": "theirs", "other": "2"}}, namespace=namespace)
    applied = await client.apply(CONFIG_MAPS, config_map("a", {"ours": "1"}), namespace=namespace)
    assert applied["data"] == {"ours": "1", "other": "2"}
    managers = {(entry["manager"], entry["operation"]) for entry in applied["metadata"]["managedFields"]}
    assert (clients.FIELD_MANAGER, "Apply") in managers


async def test_a_subresource_is_patched_alone(client, namespace) -> None:
    """A status patch changes the status and nothing else."""
    await client.merge(
        resources.NAMESPACES,
        namespace,
        {
            "spec": {"finalizers": ["example.com/not-this"]},
            "status": {"conditions": [{"type": "Seen", "status": "True", "lastTransitionTime": None}]},
        },
        subresource="status",
    )
    document = await client.get(resources.NAMESPACES, namespace)
    assert [each["type"] for each in document["status"]["conditions"]] == ["Seen"]
    assert document["spec"]["finalizers"] == ["kubernetes"]


async def test_what_exists_changed_or_is_another_is_a_conflict(client, config_map, namespace) -> None:
    """Somebody else was faster: created it, changed it, or put another in its place."""
    created = await client.create(CONFIG_MAPS, config_map("a"), namespace=namespace)
    with pytest.raises(errors.Conflict) as existing:
        await client.create(CONFIG_MAPS, config_map("a"), namespace=namespace)
    assert (existing.value.code, existing.value.reason) == (409, "AlreadyExists")

    await client.merge(CONFIG_MAPS, "a", {"data": {"x": "1"}}, namespace=namespace)
    with pytest.raises(errors.Conflict):
        await client.update(CONFIG_MAPS, created, namespace=namespace)
    with pytest.raises(errors.Conflict):
        await client.delete(CONFIG_MAPS, "a", namespace=namespace, uid="another")
    stale = created["metadata"]["resourceVersion"]
    with pytest.raises(errors.Conflict):
        await client.delete(CONFIG_MAPS, "a", namespace=namespace, resource_version=stale)
    await client.delete(CONFIG_MAPS, "a", namespace=namespace, uid=created["metadata"]["uid"], propagation="Orphan")


async def test_what_does_not_exist_is_not_found(client, namespace) -> None:
    """An object, its deletion, and a kind that the API server does not serve."""
    unknown = resources.Resource("example.com", "v1", "things", "Thing", namespaced=True)
    with pytest.raises(errors.NotFound):
        await client.get(CONFIG_MAPS, "none", namespace=namespace)
    with pytest.raises(errors.NotFound):
        await client.delete(CONFIG_MAPS, "none", namespace=namespace)
    with pytest.raises(errors.NotFound):
        await client.get(unknown, "a", namespace=namespace)


async def test_an_identity_without_rights_or_unknown_is_forbidden(cluster, connect, kubeconfig, namespace) -> None:
    """403 and 401: in both cases it is the operator's identity that somebody has to mend."""
    local = connection.from_kubeconfig(kubeconfig)
    tls = connection.from_kubeconfig(cluster.kubeconfig_for_token("nobody")).tls
    token = cluster.create_token("default", "default")
    without_rights = connect(dataclasses.replace(local, tls=tls, token=lambda: token))
    with pytest.raises(errors.Forbidden) as forbidden:
        await without_rights.get(CONFIG_MAPS, "a", namespace=namespace)
    assert forbidden.value.code == 403
    unknown = connect(dataclasses.replace(local, tls=tls, token=lambda: "nobody"))
    with pytest.raises(errors.Forbidden) as unauthorized:
        await unknown.get(CONFIG_MAPS, "a", namespace=namespace)
    assert unauthorized.value.code == 401


async def test_what_the_api_server_refuses_carries_its_reason(client, config_map, namespace) -> None:
    """Other statuses: code, reason and message as the API server gave them."""
    with pytest.raises(errors.StatusError) as refused:
        await client.create(CONFIG_MAPS, config_map("Not A Name"), namespace=namespace)
    assert (refused.value.code, refused.value.reason) == (422, "Invalid")
    assert "metadata.name" in refused.value.message


async def test_objects_are_counted_without_being_listed(client, namespace) -> None:
    """Secrets, of which a namespace gets none from anybody else: a ConfigMap it gets from the cluster, some time."""
    assert await client.count(resources.SECRETS, namespace=namespace) == 0
    for number in range(3):
        document = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"counted-{number}"}}
        await client.create(resources.SECRETS, document, namespace=namespace)
    assert await client.count(resources.SECRETS, namespace=namespace) == 3
    assert await client.count(resources.SECRETS, namespace="there-is-no-such") == 0


async def test_pages_are_one_snapshot(client, config_map, namespace) -> None:
    """A list of 230 comes in pages of 100; what happens after the first page is not in the others."""
    names = [f"c{number:03}" for number in range(230)]
    labels = {"pages": "yes"}
    for start in range(0, 230, 46):
        await asyncio.gather(
            *(
                client.create(CONFIG_MAPS, config_map(name, labels=labels), namespace=namespace)
                for name in names[start : start + 46]
            )
        )
    listed = []
    async for page in client.pages(CONFIG_MAPS, namespace=namespace, label_selector="pages=yes"):
        listed.append([item["metadata"]["name"] for item in page["items"]])
        if len(listed) == 1:
            await client.delete(CONFIG_MAPS, "c229", namespace=namespace)
            await client.create(CONFIG_MAPS, config_map("c999", labels=labels), namespace=namespace)
    assert [len(page) for page in listed] == [100, 100, 30]
    assert [name for page in listed for name in page] == names


async def test_a_watch_tells_what_happens_since_a_version(client, config_map, namespace) -> None:
    """Creation, change and deletion, only of what the selector selects."""
    page = await anext(client.pages(CONFIG_MAPS))
    watched = client.watch(CONFIG_MAPS, page["metadata"]["resourceVersion"], label_selector="watched=yes")
    labels = {"watched": "yes"}
    await client.create(CONFIG_MAPS, config_map("other"), namespace=namespace)
    await client.create(CONFIG_MAPS, config_map("a", labels=labels), namespace=namespace)
    await client.merge(CONFIG_MAPS, "a", {"data": {"x": "1"}}, namespace=namespace)
    await client.delete(CONFIG_MAPS, "a", namespace=namespace)
    events = [await anext(watched) for _ in range(3)]
    await watched.aclose()
    assert [(event["type"], event["object"]["metadata"]["name"]) for event in events] == [
        ("ADDED", "a"),
        ("MODIFIED", "a"),
        ("DELETED", "a"),
    ]


async def test_a_watch_takes_events_larger_than_any_buffer(client, config_map, namespace) -> None:
    """An object of nearly a mebibyte is one line; aiohttp's own reader of lines would refuse it."""
    page = await anext(client.pages(CONFIG_MAPS, namespace=namespace))
    large = "x" * 900_000
    await client.create(CONFIG_MAPS, config_map("large", {"x": large}), namespace=namespace)
    await client.create(CONFIG_MAPS, config_map("small"), namespace=namespace)
    watched = client.watch(CONFIG_MAPS, page["metadata"]["resourceVersion"], namespace=namespace)
    seen = {}
    while {"large", "small"} - set(seen):  # the namespace's own ConfigMap of certificates may come in between
        event = await anext(watched)
        seen[event["object"]["metadata"]["name"]] = event["object"]
    await watched.aclose()
    assert seen["large"]["data"]["x"] == large


@pytest.fixture
def late(kubectl):
    """A kind that was installed long after version 1, so that the API server knows nothing of that time."""
    group, plural = f"g{uuid.uuid4().hex[:8]}.example.com", "things"
    content = {"x-kubernetes-preserve-unknown-fields": True}
    document = kinds.definition(group, plural, "Thing", scope="Cluster", **content)
    kubectl("create", "-f", "-", input=json.dumps(document))
    kubectl("wait", "--for=condition=Established", f"crd/{plural}.{group}", "--timeout=45s")
    yield resources.Resource(group, "v1", plural, "Thing", namespaced=False)
    kubectl("delete", "crd", f"{plural}.{group}", "--wait=false")


async def test_a_watch_from_long_ago_is_expired(client, late) -> None:
    """The API server has forgotten what came after that version: list again.

    A kind that is established is served some moments later only, and can be watched when what is there has been read.
    """

    async def watched_from_long_ago():
        while True:
            try:
                await anext(client.pages(late))
                async for _ in client.watch(late, "1"):
                    pass
            except (errors.NotFound, errors.Throttled):
                await asyncio.sleep(0.1)

    async with asyncio.timeout(60):
        with pytest.raises(errors.Expired):
            await watched_from_long_ago()


async def test_every_call_has_a_span_that_says_what_it_was(client, exported, config_map, namespace, cluster) -> None:
    """Names of low cardinality; group, kind, namespace and verb in attributes; what is not there is no error."""
    made = await client.create(CONFIG_MAPS, config_map("a"), namespace=namespace)
    with pytest.raises(errors.NotFound):
        await client.get(CONFIG_MAPS, "none", namespace=namespace)
    await anext(client.pages(resources.CLUSTER_ROLES))
    watching = client.watch(CONFIG_MAPS, str(int(made["metadata"]["resourceVersion"]) - 1), namespace=namespace)
    await anext(watching)
    await watching.aclose()
    await client.read("/version")
    created, missed, listed, watched, read = exported.get_finished_spans()
    assert [span.name for span in (created, missed, listed, watched, read)] == [
        "KUBE create configmaps",
        "KUBE get configmaps",
        "KUBE list clusterroles",
        "KUBE watch configmaps",
        "KUBE get /version",
    ]
    host, _, port = cluster.url.removeprefix("https://").partition(":")
    assert dict(created.attributes) == {
        "kube.client.group": "",
        "kube.client.kind": "ConfigMap",
        "kube.client.namespace": namespace,
        "kube.client.operation": "create",
        "http.request.method": "POST",
        "http.response.status_code": 201,
        "server.address": host,
        "server.port": int(port),
        "url.full": f"{cluster.url}/api/v1/namespaces/{namespace}/configmaps",
        "url.template": "/api/v1/namespaces/{namespace}/configmaps",
    }
    assert missed.attributes["url.template"] == "/api/v1/namespaces/{namespace}/configmaps/{name}"
    assert "url.template" not in read.attributes
    assert not any("?" in span.attributes["url.full"] for span in (listed, watched)), "selectors and tokens are no news"
    assert listed.attributes["kube.client.group"] == "rbac.authorization.k8s.io"
    assert missed.attributes["http.response.status_code"] == 404
    assert "error.type" not in missed.attributes
    assert missed.status.is_unset
    assert created.status.is_unset
