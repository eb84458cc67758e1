"""What the API server serves, and what a policy's kind selector means there."""

import asyncio

import pytest

from kymograph.clients.kubernetes import discovery, errors

CORE = {
    "items": [
        {
            "metadata": {},
            "versions": [
                {
                    "version": "v1",
                    "resources": [
                        {
                            "resource": "pods",
                            "responseKind": {"kind": "Pod"},
                            "scope": "Namespaced",
                            "verbs": ["get", "list"],
                            "subresources": [
                                {"subresource": "status", "verbs": ["get"]},
                                {"subresource": "ephemeralcontainers", "verbs": ["patch"]},
                                {"subresource": "exec", "responseKind": {"kind": "PodExecOptions"}},
                            ],
                        },
                        {"resource": "nodes", "responseKind": {"kind": "Node"}, "scope": "Cluster", "verbs": ["get"]},
                        {"resource": "nothing", "scope": "Cluster"},
                    ],
                }
            ],
        }
    ]
}
GROUPS = {
    "items": [
        {
            "metadata": {"name": "autoscaling"},
            "versions": [
                {
                    "version": version,
                    "resources": [
                        {
                            "resource": "horizontalpodautoscalers",
                            "responseKind": {"kind": "HorizontalPodAutoscaler"},
                            "scope": "Namespaced",
                        }
                    ],
                }
                for version in ("v2", "v1")
            ],
        },
        {"metadata": {"name": "stale.example.com"}, "versions": [{"version": "v1", "freshness": "Stale"}]},
    ]
}


class Reader:
    """Serves discovery documents; waits for `gate` where it is closed."""

    def __init__(self, groups=GROUPS):
        self.documents = {"/api": CORE, "/apis": groups}
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def read(self, path, *, accept):
        assert "APIGroupDiscoveryList" in accept
        self.asked += path == "/api"
        await self.gate.wait()
        if isinstance(self.documents[path], Exception):
            raise self.documents[path]
        return self.documents[path]


async def test_every_resource_and_subresource_is_found() -> None:
    """With its scope and verbs; a subresource carries the kind of the object that has it."""
    catalogue = await discovery.discover(Reader())
    assert [(each.group, each.version, each.plural, each.subresource) for each in catalogue.served] == [
        ("", "v1", "pods", ""),
        ("", "v1", "pods", "status"),
        ("", "v1", "pods", "ephemeralcontainers"),
        ("", "v1", "pods", "exec"),
        ("", "v1", "nodes", ""),
        ("autoscaling", "v2", "horizontalpodautoscalers", ""),
        ("autoscaling", "v1", "horizontalpodautoscalers", ""),
    ]
    assert {each.kind for each in catalogue.served[:4]} == {"Pod"}
    assert [each.namespaced for each in catalogue.served] == [True] * 4 + [False] + [True] * 2
    assert catalogue.served[0].verbs == {"get", "list"}


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        (("*", "*", "Pod", ""), ["pods", "pods/ephemeralcontainers"]),
        (("", "v1", "Pod", ""), ["pods", "pods/ephemeralcontainers"]),
        (("*", "*", "P?d", ""), ["pods", "pods/ephemeralcontainers"]),
        (("*", "*", "Pod", "exec"), ["pods/ephemeralcontainers", "pods/exec"]),
        (("*", "*", "Pod", "*"), ["pods", "pods/ephemeralcontainers", "pods/exec", "pods/status"]),
        (("*", "*", "Node", ""), ["nodes"]),
        (("*", "*", "pod", ""), []),
        (("apps", "*", "Pod", ""), []),
        (("*", "v2", "*", ""), ["horizontalpodautoscalers"]),
        (("auto*", "*", "Horizontal*", ""), ["horizontalpodautoscalers", "horizontalpodautoscalers"]),
        (("*", "*", "Unknown", ""), []),
    ],
)
async def test_a_kind_selector_finds_what_it_selects(selector, found) -> None:
    """Wildcards in every part; what selects Pods selects the containers added to them later."""
    catalogue = await discovery.discover(Reader())
    assert sorted(f"{each.plural}/{each.subresource}".rstrip("/") for each in catalogue.find(*selector)) == found


async def test_the_kind_of_a_resource_is_known() -> None:
    """By group, version and plural."""
    catalogue = await discovery.discover(Reader())
    assert catalogue.kind_of("autoscaling", "v1", "horizontalpodautoscalers") == "HorizontalPodAutoscaler"
    assert catalogue.kind_of("", "v1", "unknown") is None


async def test_equal_catalogues_are_equal() -> None:
    """So that a refresh that found nothing new is no change."""
    first, second = await discovery.discover(Reader()), await discovery.discover(Reader())
    assert (first, hash(first)) == (second, hash(second))
    assert first != await discovery.discover(Reader({"items": []}))


@pytest.mark.parametrize(
    "document", [{"items": ["text"]}, {"items": 7}, {"items": [{"versions": [{"resources": [{"scope": "Cluster"}]}]}]}]
)
async def test_a_document_that_is_no_discovery_is_invalid(document) -> None:
    """Whoever answered is not an API server that we know."""
    with pytest.raises(errors.AnswerInvalid):
        await discovery.discover(Reader(document))


async def test_who_asks_meanwhile_shares_the_next_answer() -> None:
    """Ten that need a refresh cost two: the one under way may have begun before what they want to see."""
    reader = Reader()
    catalogues = discovery.Catalogues(reader)
    reader.gate.clear()
    asking = [asyncio.create_task(catalogues.refresh()) for _ in range(10)]
    await asyncio.sleep(0)
    reader.documents["/api"] = {"items": []}
    reader.gate.set()
    found = await asyncio.gather(*asking)
    assert reader.asked == 2
    assert all(each is catalogues.current for each in found[1:])


async def test_a_refresh_that_fails_leaves_what_is_known_and_the_next_one_asks_again() -> None:
    """Whoever shared the failure asks for himself."""
    reader = Reader()
    catalogues = discovery.Catalogues(reader)
    known = await catalogues.refresh()
    reader.documents["/apis"] = errors.Unreachable("refused")
    with pytest.raises(errors.Unreachable):
        await catalogues.refresh()
    assert catalogues.current is known
    reader.documents["/apis"] = {"items": []}
    assert len((await catalogues.refresh()).served) == 5


async def test_the_real_api_server_tells_what_it_serves(client) -> None:
    """Pods with their subresources, Deployments, in the form that we read."""
    catalogue = await discovery.discover(client)
    assert catalogue.kind_of("apps", "v1", "deployments") == "Deployment"
    (nodes,) = catalogue.find("", "v1", "Node", "")
    assert (nodes.namespaced, "watch" in nodes.verbs) == (False, True)
    assert {"exec", "ephemeralcontainers", "status"} <= {
        each.subresource for each in catalogue.find("*", "*", "Pod", "*")
    }
