"""The webhook configurations in the cluster follow the policies, whatever happens to either."""

import asyncio
import base64
import logging

import kopf

from fakes import configurations
from fakes.stored import stored
from kymograph.clients.kubernetes import discovery, errors
from kymograph.controllers import policies
from kymograph.controllers.admission import registration, webhooknames, webhooks
from support.registered import ADDRESS, PODS

THINGS = discovery.Served("example.com", "v1", "things", "Thing", "", namespaced=True)
POLICY, RESOURCE = webhooknames.KYMOGRAPH.policies, webhooknames.KYMOGRAPH.validation
MUTATION = webhooknames.KYMOGRAPH.mutation
REACHABILITY = webhooknames.KYMOGRAPH.reachability
TTL = webhooknames.KYMOGRAPH.ttl


async def test_nothing_is_written_before_everything_is_known(here) -> None:
    """Neither while policies are being compiled nor before the webhooks have an address."""
    running = asyncio.create_task(here.registration.run())
    here.registration.address(ADDRESS)
    await asyncio.sleep(0.01)
    assert (here.cluster.calls, here.registration.registered) == ([], False)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    here.start(address=None)
    here.registration._address = None
    await asyncio.sleep(0.01)
    assert (here.cluster.calls, here.registration.registered) == ([], False)
    here.registration.address(ADDRESS)
    await here.covered()
    assert here.registration.registered


async def test_without_policies_only_policies_are_asked_about(here) -> None:
    """What an operator before us left behind for resources is removed."""
    here.cluster.documents[RESOURCE] = {}
    here.start()
    await here.covered()
    assert set(here.cluster.documents) == {POLICY, REACHABILITY}
    assert here.cluster.calls == [
        ("apply", POLICY),
        ("apply", REACHABILITY),
        ("delete", RESOURCE),
        ("delete", MUTATION),
        ("delete", TTL),
    ]


async def test_a_burst_of_policies_is_one_write(here) -> None:
    """A hundred policies applied at once are not a hundred configurations."""
    here.start()
    await here.covered()
    here.cluster.calls.clear()
    for number in range(100):
        here.store.put(stored(f"p{number}", number + 1))
    await here.covered()
    assert here.cluster.calls == [("apply", RESOURCE)]
    assert here.cluster.resources() == ["pods", "pods/ephemeralcontainers"]


async def test_a_change_that_needs_no_other_webhooks_writes_nothing(here) -> None:
    """It is covered all the same."""
    here.start(stored("p", 1))
    await here.covered()
    here.cluster.calls.clear()
    here.store.put(stored("p", 2, generation=2))
    await here.covered()
    assert here.cluster.calls == []


async def test_with_the_last_policy_its_webhooks_go(here) -> None:
    """No request waits for an operator that has nothing to say."""
    here.start(stored("p", 1))
    await here.covered()
    here.store.drop(policies.Key("ClusterPolicy", "", "p"), "uid-p")
    await here.covered()
    assert set(here.cluster.documents) == {POLICY, REACHABILITY}


async def test_another_address_is_written(here) -> None:
    """The CA was renewed: API servers must trust it."""
    here.start()
    await here.covered()
    here.registration.address(webhooks.Address(b"NEW", ADDRESS.url, "kymograph", "kymograph"))
    await here.until(lambda: here.cluster.calls.count(("apply", POLICY)) == 2)


async def test_what_others_change_or_delete_is_written_again(here) -> None:
    """Our own writes come back as events too and are not answered."""
    here.start(stored("p", 1))
    await here.covered()
    for name in (POLICY, RESOURCE):
        here.registration.touched(name, here.cluster.documents[name]["metadata"]["resourceVersion"])
    here.registration.touched("somebody-elses", "77")
    await asyncio.sleep(0.02)
    here.cluster.calls.clear()
    here.registration.touched(RESOURCE, "999")
    await here.until(lambda: here.cluster.calls == [("apply", RESOURCE)])
    here.registration.touched(POLICY, None)
    await here.until(lambda: here.cluster.calls[1:] == [("apply", POLICY)])


async def test_our_own_deletion_is_not_answered_but_anothers_creation_is(here) -> None:
    """Where no policy needs webhooks, whoever makes them under our name is undone."""
    here.start(stored("p", 1))
    await here.covered()
    here.store.drop(policies.Key("ClusterPolicy", "", "p"), "uid-p")
    await here.covered()
    here.cluster.calls.clear()
    here.registration.touched(RESOURCE, None)
    await asyncio.sleep(0.02)
    assert here.cluster.calls == []
    here.cluster.documents[RESOURCE] = {}
    here.registration.touched(RESOURCE, "55")
    await here.until(lambda: here.cluster.calls == [("delete", RESOURCE)])


async def test_a_write_that_fails_is_tried_again_and_covers_nothing_before(here) -> None:
    """A policy is ready only when the API server was told."""
    here.cluster.failures = [errors.Forbidden(403, "Forbidden", "no"), errors.Unreachable("refused")]
    here.start(stored("p", 1))
    waiting = asyncio.create_task(here.covered())
    await here.until(lambda: not here.cluster.failures)
    assert not waiting.done()
    await waiting
    assert here.cluster.resources() == ["pods", "pods/ephemeralcontainers"]


async def test_a_later_generation_covers_the_earlier_ones(here) -> None:
    """Who waited for a generation that was overtaken waits no longer."""
    here.start()
    await here.covered()
    here.store.put(stored("a", 1))
    first = here.store.policies.generation
    here.store.put(stored("b", 2))
    async with asyncio.timeout(60):
        await asyncio.gather(here.registration.covers(first), here.covered())


async def test_a_kind_that_is_installed_later_is_asked_about_then(here, monkeypatch) -> None:
    """Looked up now and then while policies name it."""
    monkeypatch.setattr(registration, "UNRESOLVED_EVERY", 0.005)
    here.start(stored("p", 1, match={"any": [{"resources": {"kinds": ["Pod", "Thing"]}}]}))
    await here.covered()
    assert here.cluster.resources() == ["pods", "pods/ephemeralcontainers"]
    here.catalogues.served = (PODS, THINGS)
    await here.until(lambda: here.cluster.resources() == ["pods", "pods/ephemeralcontainers", "things"])


async def test_a_kind_that_is_installed_while_kinds_are_read_is_not_overlooked(here) -> None:
    """The news came after the answer was made and before it was taken."""
    here.start(stored("p", 1, match={"any": [{"resources": {"kinds": ["Pod", "Thing"]}}]}))
    await here.covered()

    def installed():
        here.catalogues.served = (PODS, THINGS)
        here.registration.kinds_changed()

    here.catalogues.during = installed
    here.registration.kinds_changed()
    await here.until(lambda: here.cluster.resources() == ["pods", "pods/ephemeralcontainers", "things"])


async def test_everything_is_compared_again_now_and_then(here, monkeypatch) -> None:
    """Also what no watch told of."""
    monkeypatch.setattr(registration, "RESYNC_EVERY", 0.005)
    monkeypatch.setattr(registration, "UNRESOLVED_EVERY", 0.005)
    here.start(stored("p", 1))
    await here.covered()
    here.cluster.documents.clear()
    await here.until(lambda: set(here.cluster.documents) == {POLICY, REACHABILITY, RESOURCE})


async def test_a_comparison_that_changes_nothing_is_not_told_of(here, monkeypatch, caplog) -> None:
    """At the level that operators run with."""
    monkeypatch.setattr(registration, "RESYNC_EVERY", 0.005)
    monkeypatch.setattr(registration, "UNRESOLVED_EVERY", 0.005)
    caplog.set_level(logging.INFO, registration.logger.name)
    here.start(stored("p", 1))
    await here.until(lambda: here.cluster.calls.count(("apply", RESOURCE)) > 2)
    told = [record.getMessage() for record in caplog.records if record.getMessage().endswith("written")]
    assert sorted(told) == sorted(f"Webhook configuration {each} written" for each in (POLICY, REACHABILITY, RESOURCE))


async def test_kopf_watches_our_configurations_only(here) -> None:
    """By their label; deletions come without a version."""
    registry = kopf.OperatorRegistry()
    registration.register(registry, here.registration, webhooknames.KYMOGRAPH.labels)
    handler, for_mutation = registry._watching.get_all_handlers()
    assert {each.selector.any_name for each in (handler, for_mutation)} == {
        "validatingwebhookconfigurations",
        "mutatingwebhookconfigurations",
    }
    assert handler.labels == for_mutation.labels == webhooknames.KYMOGRAPH.labels
    here.start(stored("p", 1))
    await here.covered()
    here.cluster.calls.clear()
    document = here.cluster.documents[RESOURCE]
    await handler.fn(event={"type": "MODIFIED", "object": document})
    await asyncio.sleep(0.02)
    assert here.cluster.calls == []
    await handler.fn(event={"type": "DELETED", "object": document})
    await here.until(lambda: here.cluster.calls == [("apply", RESOURCE)])


async def test_another_replica_that_wrote_while_we_did_is_not_overlooked(here) -> None:
    """Seen between our write and its answer: nobody knows which of both is there now, so it is written again."""
    apply, seen = here.cluster.apply, []

    async def overtaken(resource, document):
        answer = await apply(resource, document)
        if not seen:
            seen.append(document["metadata"]["name"])
            here.registration.touched(seen[0], "999")
        return answer

    here.cluster.apply = overtaken
    here.start(stored("one", 1))
    await here.covered()
    await here.until(lambda: here.cluster.calls.count(("apply", seen[0])) == 2)
    assert [call for call in here.cluster.calls if call[1] != seen[0]] != []


async def test_who_leads_again_believes_nothing_it_wrote_before(here) -> None:
    """Somebody else led meanwhile: everything is written anew, and covered only after that."""
    here.start(stored("one", 1))
    await here.covered()
    await here.stop()
    here.cluster.documents.clear()
    again = asyncio.create_task(here.registration.run())
    await here.until(lambda: set(here.cluster.documents) == {POLICY, REACHABILITY, RESOURCE})
    await here.covered()
    assert here.registration.registered
    again.cancel()
    await asyncio.gather(again, return_exceptions=True)
    here._task = None


async def test_an_authority_is_trusted_once_every_configuration_holds_it(here) -> None:
    """As the watch shows them, whoever writes them; one that is gone asks nobody anything."""
    old, new = base64.b64encode(b"OLD\n").decode(), base64.b64encode(b"NEW\nOLD\n").decode()
    configured = {bundle: [{"clientConfig": {"caBundle": bundle}}] for bundle in (old, new)}
    await here.registration.seen(POLICY, configured[old])
    await here.registration.seen(RESOURCE, configured[old])
    trusting = asyncio.create_task(here.registration.trusts(b"NEW\n"))
    await here.registration.seen(POLICY, configured[new])
    await asyncio.sleep(0.01)
    assert not trusting.done()
    await here.registration.seen(RESOURCE, ())
    async with asyncio.timeout(60):
        await trusting


class Demanding(configurations.Configurations):
    """An API server that refuses conditions that are no CEL."""

    async def apply(self, resource, document, *, dry_run=False):
        for webhook in document["webhooks"]:
            if any(each["expression"] == "no CEL" for each in webhook.get("matchConditions", ())):
                raise errors.StatusError(422, "Invalid", f"{webhook['name']}: compilation failed")
        return document if dry_run else await super().apply(resource, document)


def conditional(name, version, expression):
    document = stored(name, version)
    conditions = [{"name": "c", "expression": expression}]
    return {**document, "spec": {**document["spec"], "webhookConfiguration": {"matchConditions": conditions}}}


async def test_a_webhook_that_is_refused_costs_no_other_one(here, kept, caplog) -> None:
    """The API server refuses a configuration as a whole; the conditions of one policy must not matter to others."""
    here.cluster = Demanding()
    here.registration = registration.Registration(here.cluster, here.store, here.catalogues, kept.telemetry)
    here.start(stored("plain", 1), conditional("good", 2, "true"), conditional("bad", 3, "no CEL"))
    await here.covered()
    names = [each["name"] for each in here.cluster.documents[RESOURCE]["webhooks"]]
    assert names == ["fail.validate.kymograph.dev", "good.fail.validate.kymograph.dev"]
    assert "Webhook bad.fail.validate.kymograph.dev is refused and written never" in caplog.text


async def test_without_the_conditions_of_the_installation_more_is_asked_about(here, kept, caplog) -> None:
    """A mistake in the ConfigMap must not end the enforcement of every policy."""
    here.cluster = Demanding()
    wishes = webhooks.Wishes(match_conditions=({"name": "c", "expression": "no CEL"},))
    here.registration = registration.Registration(
        here.cluster, here.store, here.catalogues, kept.telemetry, lambda: wishes
    )
    here.start(stored("plain", 1))
    await here.covered()
    (webhook,) = here.cluster.documents[RESOURCE]["webhooks"]
    assert "matchConditions" not in webhook
    assert "written without the ConfigMap's conditions" in caplog.text


async def test_no_webhook_for_resources_is_written_while_nobody_reaches_us(here, kept) -> None:
    """It might fail closed. Policies are checked, and API servers asked to show that they reach us, from the start."""
    reached = []
    here.registration = registration.Registration(
        here.cluster, here.store, here.catalogues, kept.telemetry, reached=lambda: bool(reached)
    )
    here.start(stored("p", 1))
    await here.registration.introduced()
    await asyncio.sleep(0.01)
    assert set(here.cluster.documents) == {POLICY, REACHABILITY}
    assert here.registration.registered
    reached.append(1)
    here.registration.look_again()
    await here.covered()
    assert RESOURCE in here.cluster.documents
    reached.clear()
    here.store.put(stored("q", 2))
    await asyncio.sleep(0.02)
    assert RESOURCE in here.cluster.documents, "what is there stays"


async def test_what_the_installation_wants_is_followed(here, kept) -> None:
    """The ConfigMap is live."""
    wanted = [webhooks.NOTHING]
    here.registration = registration.Registration(
        here.cluster, here.store, here.catalogues, kept.telemetry, lambda: wanted[-1]
    )
    here.start(stored("p", 1))
    await here.covered()
    wanted.append(webhooks.Wishes(labels={"team": "a"}, annotations={"a": "b"}, object_selector={"matchLabels": {}}))
    here.registration.look_again()
    await here.until(lambda: here.cluster.documents[RESOURCE]["metadata"].get("annotations") == {"a": "b"})
    assert here.cluster.documents[RESOURCE]["metadata"]["labels"] == {
        "app.kubernetes.io/managed-by": "kymograph",
        "team": "a",
    }


async def test_with_kyvernos_names_ours_are_taken_away(here, kept) -> None:
    """Else every request would be asked about twice."""
    wishes = webhooks.Wishes(names=webhooknames.KYVERNO)
    here.cluster.documents[RESOURCE] = {}
    here.registration = registration.Registration(
        here.cluster, here.store, here.catalogues, kept.telemetry, lambda: wishes
    )
    here.start(stored("p", 1))
    await here.covered()
    assert set(here.cluster.documents) == {
        "kyverno-policy-validating-webhook-cfg",
        "kyverno-resource-validating-webhook-cfg",
        "kyverno-verify-mutating-webhook-cfg",
    }


async def test_what_trusts_another_authority_is_mended_whether_anybody_reaches_us_or_not(here, kept) -> None:
    """Nobody ever would: these webhooks fail as long as they are as they are."""
    here.registration = registration.Registration(
        here.cluster, here.store, here.catalogues, kept.telemetry, reached=lambda: False
    )
    await here.registration.seen(RESOURCE, [{"clientConfig": {"caBundle": base64.b64encode(b"OLD").decode()}}])
    here.start(stored("p", 1))
    await here.covered()
    (webhook,) = here.cluster.documents[RESOURCE]["webhooks"]
    assert base64.b64decode(webhook["clientConfig"]["caBundle"]) == ADDRESS.ca_pem
