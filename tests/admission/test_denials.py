"""What a denial leaves behind besides its answer: a record in the log, and the way to its trace."""

import json
import logging
import time

import pytest

from fakes import traced
from fakes.stored import stored
from kymograph.controllers import policies
from kymograph.controllers.admission import decisions, review, reviewing, server, webhooks
from kymograph.controllers.admission.metrics import ReviewMetrics
from kymograph.controllers.events import telling
from kymograph.engine import exceptions, needs
from kymograph.runtime import logs
from kymograph.telemetry import settings
from support import pods

LINK = "https://jaeger.example/trace/{trace_id}"


class NoFacts:
    """Is asked nothing by these policies."""

    def at_hand(self, need: needs.Need, facts: needs.Facts) -> bool:
        raise AssertionError(need)


class Later:
    """Notes what there is to say, and its link."""

    omitted = frozenset()

    def __init__(self):
        self.links = []

    def later(self, work, link="", cause=None):
        self.links.append(link)


class Entry:
    """Reviews with a log of denials."""

    def __init__(self, kept):
        self.kept, self.store, self.now, self.dropped = kept, policies.PolicyStore(), 1, 0
        self.said = Later()
        self.reviews = review.Reviews(
            self.store,
            NoFacts(),
            reviewing.Owner(
                kept.telemetry,
                ReviewMetrics(kept.telemetry.instruments, self.store),
                time.monotonic_ns,
                told=telling.Telling(self.said, lambda: exceptions.NONE),
                denials=decisions.Decisions(lambda: self.now, self.drop),
            ),
        )

    def drop(self):
        self.dropped += 1

    def judge(self, document, **headers):
        body = json.dumps(document).encode()
        deadline = time.monotonic_ns() + 10**10
        http = server.Request(webhooks.FAIL_PATH, body, deadline, b"application/json", **headers)
        return json.loads(self.reviews.validate(http, "Fail"))["response"]

    async def configure(self, **traces):
        wanted = settings.from_spec({"traces": {"endpoint": "collector:4317", **traces}})
        await self.kept.telemetry.apply(wanted)


@pytest.fixture
async def entry():
    async with traced.kept() as kept:
        made = Entry(kept)
        made.store.put(stored("no-latest", 1))
        yield made


@pytest.fixture
def records(caplog):
    """The records of denials, each as the line of JSON that is written."""
    caplog.set_level(logging.INFO, decisions.__name__)
    lines = []

    class Lines(logging.Handler):
        def emit(self, record):
            lines.append(json.loads(self.format(record)))

    handler = Lines()
    handler.setFormatter(logs.JsonFormatter())
    logging.getLogger(decisions.__name__).addHandler(handler)
    yield lines
    logging.getLogger(decisions.__name__).removeHandler(handler)


def of_latest(**request):
    """A review of a Pod that the policy refuses."""
    document = pods.create()
    document["request"] |= {"userInfo": {"username": "jane"}, **request}
    pod = document["request"]["object"]
    pod["spec"]["containers"][0]["image"] = "app:latest"
    return document


async def test_each_denial_is_one_record_in_its_own_trace(entry, records):
    """What was refused, by which rule and why; who asked for it is not said."""
    response = entry.judge(of_latest())
    assert not response["allowed"]
    assert entry.judge(pods.create())["allowed"]
    (record,) = records
    request = of_latest()["request"]
    assert record["decision"] == {
        "uid": request["uid"],
        "operation": "CREATE",
        "group": "",
        "kind": "Pod",
        "namespace": "shop",
        "name": request["object"]["metadata"]["name"],
        "dryRun": False,
        "rules": [
            {
                "policy": "no-latest",
                "rule": "no-latest-rule",
                "action": "Enforce",
                "result": "fail",
                "message": record["decision"]["rules"][0]["message"],
            }
        ],
    }
    assert "No latest." in record["decision"]["rules"][0]["message"]
    assert (record["level"], record["logger"]) == ("info", decisions.__name__)
    assert (record["uid"], record["trace_flags"]) == (request["uid"], "01")
    assert record["message"].endswith(" by no-latest/no-latest-rule")
    server_spans = [span for span in entry.kept.finished() if span.kind.name == "SERVER"]
    assert record["trace_id"] in {f"{span.context.trace_id:032x}" for span in server_spans}


async def test_a_denial_is_by_the_rules_that_enforce(entry, records):
    """What only failed, too, is told after them: were there many, they would not be left out for it."""
    for number in range(decisions.MOST_RULES):
        audited = {"failureAction": "Audit", "message": "No.", "deny": {}}
        entry.store.put(stored(f"audited-{number}", number + 2, validate=audited))
    entry.judge(of_latest())
    (record,) = records
    assert record["message"].endswith(" by no-latest/no-latest-rule")
    actions = [rule["action"] for rule in record["decision"]["rules"]]
    assert actions == ["Enforce", *["Audit"] * (decisions.MOST_RULES - 1)]


async def test_the_author_is_named_only_where_spans_name_authors(entry, records):
    await entry.configure(samplingRatePerMillion=0, attributes={"user": True})
    entry.judge(of_latest())
    assert records[0]["decision"]["user"] == "jane"


async def test_a_flood_of_denials_is_bounded_and_counted(entry, records):
    for _ in range(decisions.PER_SECOND + 7):
        entry.judge(of_latest())
    assert (len(records), entry.dropped) == (decisions.PER_SECOND, 7)
    entry.now += 1_000_000_000
    entry.judge(of_latest())
    assert len(records) == decisions.PER_SECOND + 1


async def test_nothing_is_quoted_about_a_secret(entry, records):
    """A message may quote the data that it judges; the denial itself stays as it is."""
    told = "the password hunter2 is weak"
    entry.store.put(
        stored("weak", 2, validate={"message": told, "deny": {}})
        | {
            "spec": {
                "validationFailureAction": "Enforce",
                "rules": [
                    {
                        "name": "weak",
                        "match": {"any": [{"resources": {"kinds": ["Secret"]}}]},
                        "validate": {"message": "the password {{ request.object.data.password }} is weak", "deny": {}},
                    }
                ],
            }
        }
    )
    kind = {"group": "", "version": "v1", "kind": "Secret"}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s", "namespace": "shop"},
        "data": {"password": "hunter2"},
    }
    document = of_latest(kind=kind, resource={"group": "", "version": "v1", "resource": "secrets"}, name="s")
    document["request"]["object"] = secret
    response = entry.judge(document)
    assert told in response["status"]["message"]
    (record,) = records
    assert record["decision"]["rules"] == [{"policy": "weak", "rule": "weak", "action": "Enforce", "result": "fail"}]
    assert "hunter2" not in json.dumps(record)


async def test_names_and_messages_are_cut_and_cannot_forge_a_line(entry, records):
    """A review was checked by nobody yet."""
    entry.judge(of_latest(name="x\n12:00:00 INFO forged" + "y" * 1_000))
    (record,) = records
    assert "\n" not in record["message"]
    assert len(record["decision"]["name"]) == decisions.MOST_TEXT


async def test_without_a_template_a_denial_says_nothing_of_its_trace(entry, records):
    response = entry.judge(of_latest())
    assert "warnings" not in response
    assert "trace" not in records[0]["decision"]
    assert entry.said.links == [""]


async def test_with_a_template_a_denial_says_where_its_trace_is(entry, records):
    """To its author, in the log and in Events; what was allowed says nothing."""
    await entry.configure(decisionLink=LINK)
    response = entry.judge(of_latest())
    url = f"https://jaeger.example/trace/{response['auditAnnotations']['traceparent'][3:35]}"
    assert response["warnings"] == [decisions.WARNING + url]
    assert records[0]["decision"]["trace"] == url
    assert entry.said.links == [url]
    assert "warnings" not in entry.judge(pods.create())
    spans = [span for span in entry.kept.finished() if f"{span.context.trace_id:032x}" in url]
    assert {"kymograph.kept_by": "denied"}.items() <= dict(spans[-1].attributes).items()


async def test_a_denial_whose_trace_is_not_kept_has_no_link(entry, records):
    await entry.configure(decisionLink=LINK, keep={"denied": False})
    assert "warnings" not in entry.judge(of_latest())
    assert "trace" not in records[0]["decision"]
