"""The command line: flags as documented, mistakes refused with a sentence."""

import pathlib
import subprocess
import sys

import pytest
import yaml

from kymograph import __version__
from kymograph.cli import crds, main, run
from kymograph.runtime import errors, settings
from kymograph.telemetry import defaults


@pytest.fixture
def started(monkeypatch):
    """What the operator would have been started with."""
    from kymograph.runtime import assemble

    seen = []

    async def start(chosen, _environ):
        seen.append(chosen)

    monkeypatch.setattr(assemble, "run", start)
    monkeypatch.setattr(run.gc, "freeze", lambda: None)
    monkeypatch.setattr(run.gc, "set_threshold", lambda *_: None)
    return seen


def test_without_flags_the_defaults_apply(started) -> None:
    """One source: `runtime.settings`."""
    assert main.main(["run"]) == 0
    assert started == [settings.Settings()]


def test_every_flag_becomes_its_setting(started) -> None:
    """None is forgotten."""
    flags = [
        "--controllers=admission,background",
        "--kubeconfig=/k",
        "--namespace=ours",
        "--service=svc",
        "--webhook-url=https://10.0.0.1:9443/",
        "--webhook-host=127.0.0.1",
        "--webhook-port=1",
        "--webhook-client-ca=/ca",
        "--health-port=65535",
        "--shutdown-delay=0.5",
        "--enable-policy-exception=false",
        "--exception-namespace=*",
        "--service-call-trusted=b.example,10.0.0.0/8",
        "--service-call-token-file=/t",
        "--service-call-token-namespaces=shop,ClusterPolicy",
        "--max-api-call-response-length=1000",
        "--background-scan-interval=30m",
        "--omit-events=PolicyApplied",
        "--log-format=json",
        "--backgroundScan=false",
        "--skipResourceFilters=false",
        "--admissionReports=false",
        "--allowedResults=fail,warn",
        "--openreportsEnabled=true",
        "--log-level=debug",
        "--metricsHost=127.0.0.1",
        "--enableTracing",
        "--config-map=said",
        "--webhook-names=kyverno",
        "--forceFailurePolicyIgnore=true",
        "--excludeBootstrapResources=true",
        "--protectManagedResources=true",
        "--servicePort=8443",
        "--imagePullSecrets=one,two",
        "--allowInsecureRegistry=true",
        "--maxQueuedEvents=7",
        "--webhookTimeout=15",
    ]
    assert main.main(["run", *flags]) == 0
    assert started == [
        settings.Settings(
            controllers=frozenset({"admission", "background"}),
            kubeconfig=pathlib.Path("/k"),
            namespace="ours",
            service="svc",
            webhook_url="https://10.0.0.1:9443",
            webhook_host="127.0.0.1",
            webhook_port=1,
            webhook_client_ca=pathlib.Path("/ca"),
            health_port=65535,
            shutdown_delay=0.5,
            enable_policy_exception=False,
            exception_namespace="*",
            service_call_trusted=("10.0.0.0/8", "b.example"),
            service_call_token_file=pathlib.Path("/t"),
            service_call_token_namespaces=frozenset({"shop", "ClusterPolicy"}),
            max_api_call_response_length=1000,
            background_scan=False,
            background_scan_interval=1800.0,
            skip_resource_filters=False,
            admission_reports=False,
            allowed_results=frozenset({"fail", "warn"}),
            openreports=True,
            omit_events=frozenset({"PolicyApplied"}),
            config_map="said",
            webhook_names="kyverno",
            force_failure_policy_ignore=True,
            exclude_bootstrap_resources=True,
            protect_managed_resources=True,
            service_port=8443,
            image_pull_secrets=frozenset({"one", "two"}),
            allow_insecure_registry=True,
            max_queued_events=7,
            webhook_timeout=15,
            log_format="json",
            log_level="debug",
            metrics_host="127.0.0.1",
            telemetry=defaults.Defaults(traced=True),
        )
    ]
    assert all(getattr(started[0], each) != getattr(settings.Settings(), each) for each in settings.Settings.__slots__)


@pytest.mark.parametrize(
    ("flag", "reason"),
    [
        ("--controllers=admission,scan", "scan: choose from admission,background,cleanup,reports"),
        ("--controllers=,", "nothing: choose from"),
        ("--webhook-port=0", "a port is a number from 1 to 65535"),
        ("--webhook-port=65536", "a port is a number from 1 to 65535"),
        ("--health-port=http", "a port is a number from 1 to 65535"),
        ("--health-port=²", "a port is a number from 1 to 65535"),
        ("--shutdown-delay=-1", "must be a number of seconds, not negative"),
        ("--shutdown-delay=inf", "must be a number of seconds, not negative"),
        ("--shutdown-delay=soon", "must be a number of seconds, not negative"),
        ("--webhook-url=http://10.0.0.1", "must be https://HOST"),
        ("--webhook-url=10.0.0.1:9443", "must be https://HOST"),
        ("--webhook-url=https://jane@10.0.0.1", "must be https://HOST"),
        ("--webhook-url=https://10.0.0.1?a=b", "must be https://HOST"),
        ("--enable-policy-exception=perhaps", "must be true or false"),
        ("--allowed-results=fail,failed", "failed: choose from pass,fail,warn,error,skip"),
        ("--service-call-trusted=http://host/", "is neither a host, an address nor a network"),
        ("--max-api-call-response-length=0", "at least 1"),
        ("--log-format=xml", "invalid choice"),
        ("--log-level=loud", "invalid choice"),
        ("--unknown", "unrecognized arguments"),
    ],
)
def test_a_mistake_is_refused_before_anything_starts(started, capsys, flag, reason) -> None:
    """Exit status 2, as command lines have it, and what would be right."""
    with pytest.raises(SystemExit) as ended:
        main.main(["run", flag])
    assert (ended.value.code, started) == (2, [])
    assert reason in capsys.readouterr().err


def test_a_failure_is_one_sentence_and_status_one(monkeypatch, started, capsys) -> None:
    """What to change; no stack trace."""
    from kymograph.runtime import assemble

    async def fail(*_):
        raise errors.PortTaken("port 9443: address in use")

    monkeypatch.setattr(assemble, "run", fail)
    assert main.main(["run"]) == 1
    assert capsys.readouterr().err == "kymograph: port 9443: address in use\n"


@pytest.mark.parametrize("arguments", [[], ["unknown"], ["--unknown"]])
def test_without_a_command_nothing_happens(arguments) -> None:
    """Status 2."""
    with pytest.raises(SystemExit) as ended:
        main.main(arguments)
    assert ended.value.code == 2


def test_the_version_is_the_packages(capsys) -> None:
    """`kymograph --version`."""
    with pytest.raises(SystemExit) as ended:
        main.main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"kymograph {__version__}\n")


@pytest.mark.parametrize("command", sorted(main.COMMANDS))
def test_every_flag_of_every_command_says_what_it_does(command, capsys) -> None:
    """`--help` of each."""
    import argparse
    import importlib

    parser = argparse.ArgumentParser()
    importlib.import_module(f"kymograph.cli.{command}").configure(parser)
    assert [action.dest for action in parser._actions if not action.help] == []
    with pytest.raises(SystemExit):
        main.main([command, "--help"])
    assert main.COMMANDS[command].split()[0].capitalize() in capsys.readouterr().out


def test_a_command_loads_nothing_of_the_others(tmp_path) -> None:
    """`kymograph crds` starts in no time: neither Kopf nor OpenTelemetry nor aiohttp."""
    program = (
        "import sys\n"
        "from kymograph.cli import main\n"
        "assert main.main(['crds', '--write', sys.argv[1]]) == 0\n"
        "heavy = {'kopf', 'aiohttp', 'opentelemetry', 'kubernetes', 'grpc'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program, "run"], check=True, timeout=60, cwd=tmp_path)


def test_crds_are_written_one_file_a_kind(tmp_path) -> None:
    """With a kustomization that names them all; a folder that exists is no obstacle."""
    target = tmp_path / "deep" / "crds"
    for _ in range(2):
        assert main.main(["crds", "--write", str(target)]) == 0
    written = {path.name: path.read_text() for path in target.iterdir()}
    assert written == crds.render()
    listed = yaml.safe_load(written.pop("kustomization.yaml"))["resources"]
    assert listed == sorted(written)
