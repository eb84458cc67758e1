"""Who may scrape: the API server is asked whose a token is and what that user may, no more often than needed."""

import asyncio
import datetime as dt
import http
import ssl

import aiohttp
import pytest

from fakes import traced
from kymograph.clients.kubernetes import errors
from kymograph.runtime import certificates, metricaccess, metricserver
from kymograph.telemetry import errors as telemetry_errors
from kymograph.telemetry import metricsettings

NOW = dt.datetime.now(dt.UTC)


class APIServer:
    """Knows the tokens `reader` and `stranger`, of which the first may."""

    def __init__(self):
        self.asked = []
        self.gate = None
        self.failing = False

    async def create(self, resource, document):
        spec = document["spec"]
        self.asked.append((resource.plural, spec))
        if self.gate is not None:
            await self.gate.wait()
        if self.failing:
            raise errors.Unreachable("down")
        if resource.plural == "tokenreviews":
            known = spec["token"] in ("reader", "stranger")
            user = {"username": f"system:{spec['token']}", "groups": ["g"]} if known else {}
            return {"status": {"authenticated": known, "user": user}}
        return {"status": {"allowed": spec["user"] == "system:reader"}}


class Here:
    def __init__(self):
        self.now = 0.0
        self.server = APIServer()
        self.access = metricaccess.Access(self.server, lambda: self.now)

    async def judge(self, header):
        return await self.access.judge(header)


@pytest.fixture
def here():
    return Here()


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Bearer reader", http.HTTPStatus.OK),
        ("bearer reader", http.HTTPStatus.OK),
        ("Bearer stranger", http.HTTPStatus.FORBIDDEN),
        ("Bearer made-up", http.HTTPStatus.UNAUTHORIZED),
        ("Bearer \udcff", http.HTTPStatus.UNAUTHORIZED),
        ("Basic cmVhZGVyOng=", http.HTTPStatus.UNAUTHORIZED),
        ("", http.HTTPStatus.UNAUTHORIZED),
    ],
)
async def test_a_token_that_is_known_and_may_is_let_in(here, header, status):
    assert await here.judge(header) is status


async def test_the_question_is_about_the_path_of_the_metrics(here):
    await here.judge("Bearer reader")
    (_, access) = here.server.asked
    assert access[1]["nonResourceAttributes"] == {"path": "/metrics", "verb": "get"}
    assert (access[1]["user"], access[1]["groups"]) == ("system:reader", ["g"])


@pytest.mark.parametrize(
    ("token", "lasts", "questions"),
    [("reader", metricaccess.ALLOWED_FOR, 2), ("made-up", metricaccess.REFUSED_FOR, 1)],
)
async def test_an_answer_is_remembered_for_its_time_and_no_longer(here, token, lasts, questions):
    for now, asked in ((0.0, questions), (lasts - 0.1, questions), (lasts + 0.1, 2 * questions)):
        here.now = now
        await here.judge(f"Bearer {token}")
        assert len(here.server.asked) == asked


async def test_answers_are_bounded_and_hold_no_token(here):
    for number in range(metricaccess.MOST_REMEMBERED + 20):
        await here.judge(f"Bearer made-up-{number}")
    assert len(here.access._answers) == metricaccess.MOST_REMEMBERED
    assert b"made-up" not in b"".join(here.access._answers)


async def test_made_up_tokens_ask_few_questions_at_once(here):
    here.server.gate = asyncio.Event()
    asking = [asyncio.create_task(here.judge(f"Bearer made-up-{number}")) for number in range(30)]
    while len(here.server.asked) < metricaccess.MOST_ASKED:  # noqa: ASYNC110 - what is looked at has no event
        await asyncio.sleep(0)
    here.server.gate.set()
    statuses = await asyncio.gather(*asking)
    assert statuses.count(http.HTTPStatus.TOO_MANY_REQUESTS) == 30 - metricaccess.MOST_ASKED
    assert len(here.server.asked) == metricaccess.MOST_ASKED


async def test_without_an_answer_nobody_is_let_in_and_nothing_is_remembered(here):
    here.server.failing = True
    assert await here.judge("Bearer reader") is http.HTTPStatus.SERVICE_UNAVAILABLE
    here.server.failing = False
    assert await here.judge("Bearer reader") is http.HTTPStatus.OK


def issued(name="localhost"):
    """A CA, and what it issued."""
    authority = certificates.issue_ca(NOW)
    return authority, certificates.issue_serving(authority, (name,), (), NOW)


@pytest.fixture
async def metrics(here):
    async with traced.kept() as kept:
        made = metricserver.MetricServer(kept.telemetry, "127.0.0.1", here.access)
        yield made
        await made.serve(None)


async def get(port, authority=None, **headers):
    """The status of /metrics; over TLS where an authority is given."""
    trusted = None
    if authority is not None:
        trusted = ssl.create_default_context(cadata=authority.certificate.decode())
    url = f"http{'s' if trusted else ''}://localhost:{port}/metrics"
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, headers=headers, **({"ssl": trusted} if trusted else {})) as answer,
    ):
        await answer.read()
        return answer.status


async def test_over_tls_scrapers_show_a_token(metrics, unused_tcp_port):
    authority, serving = issued()
    await metrics.serve(unused_tcp_port, metricserver.Guard(serving.certificate, serving.key, authorized=True))
    assert await get(unused_tcp_port, authority) == 401
    assert await get(unused_tcp_port, authority, Authorization="Bearer stranger") == 403
    assert await get(unused_tcp_port, authority, Authorization="Bearer reader") == 200


async def test_another_certificate_is_presented_without_another_server(metrics, unused_tcp_port):
    old, serving = issued()
    await metrics.serve(unused_tcp_port, metricserver.Guard(serving.certificate, serving.key))
    runner = metrics._runner
    new, renewed = issued()
    await metrics.serve(unused_tcp_port, metricserver.Guard(renewed.certificate, renewed.key))
    assert metrics._runner is runner
    assert await get(unused_tcp_port, new) == 200
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await get(unused_tcp_port, old)


async def test_tls_comes_and_goes_on_the_same_port(metrics, unused_tcp_port):
    authority, serving = issued()
    await metrics.serve(unused_tcp_port)
    assert await get(unused_tcp_port) == 200
    await metrics.serve(unused_tcp_port, metricserver.Guard(serving.certificate, serving.key))
    assert await get(unused_tcp_port, authority) == 200
    await metrics.serve(unused_tcp_port)
    assert await get(unused_tcp_port) == 200


async def test_a_certificate_that_cannot_be_used_leaves_what_was(metrics, unused_tcp_port):
    authority, serving = issued()
    await metrics.serve(unused_tcp_port, metricserver.Guard(serving.certificate, serving.key))
    _, other = issued()
    with pytest.raises(telemetry_errors.SettingsInvalid, match=r"metrics\.prometheus\.tls"):
        await metrics.serve(unused_tcp_port, metricserver.Guard(serving.certificate, other.key))
    assert await get(unused_tcp_port, authority) == 200


def test_the_secret_must_have_both_entries():
    wanted = metricsettings.from_spec({"prometheus": {"tls": {"certificateSecretRef": {"name": "s"}}}})
    with pytest.raises(telemetry_errors.SecretMissing, match=r"tls\.key"):
        metricserver.guard(wanted, {"s": {"tls.crt": b"x"}})
    assert metricserver.guard(metricsettings.MetricSettings(), {}) is metricserver.OPEN


def test_a_token_is_not_asked_for_in_plaintext():
    with pytest.raises(telemetry_errors.SettingsInvalid, match="must not be shown without tls"):
        metricsettings.from_spec({"prometheus": {"authorization": "kubernetes"}})
