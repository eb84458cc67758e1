"""The alerts fire when they should and not before, says Prometheus' own promtool."""

import os
import pathlib
import shutil
import subprocess

import pytest
import yaml

from support import monitoring

CASES = pathlib.Path(__file__).with_name("alerts.yaml")
DOCUMENT = (monitoring.ROOT / "docs" / "monitoring.md").read_text()


@pytest.fixture
def promtool(tmp_path):
    """Runs it beside the rules as Prometheus reads them from a file, rules.yaml."""
    executable = shutil.which("promtool")
    if executable is None:
        missing = "no promtool on PATH: apt-get install prometheus"
        if os.environ.get("KYMOGRAPH_REQUIRE_SERVERS") == "1":
            pytest.fail(missing)
        pytest.skip(missing)

    def run(*arguments, rules=monitoring.RULES["spec"]):
        (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
        shutil.copy(CASES, tmp_path)
        return subprocess.run(
            [executable, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=220
        )

    return run


def test_the_rules_are_rules(promtool) -> None:
    checked = promtool("check", "rules", "rules.yaml")
    assert checked.returncode == 0, checked.stderr
    assert f"{len(monitoring.ALERTS)} rules found" in checked.stdout


def test_alerts_fire_when_they_should(promtool) -> None:
    """All cases of alerts.yaml."""
    tried = promtool("test", "rules", "alerts.yaml")
    assert tried.returncode == 0, tried.stdout + tried.stderr


@pytest.mark.parametrize("expression", ["vector(0) > 1", "vector(1)"])
def test_the_cases_notice_an_alert_that_never_or_always_fires(promtool, expression) -> None:
    """So none is without a case of either sort."""
    changed = [{**alert, "expr": expression} for alert in monitoring.ALERTS]
    tried = promtool("test", "rules", "alerts.yaml", rules={"groups": [{"name": "changed", "rules": changed}]})
    assert tried.returncode != 0
    assert {alert["alert"] for alert in monitoring.ALERTS if alert["alert"] not in tried.stdout + tried.stderr} == set()


@pytest.mark.parametrize("alert", monitoring.ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_says_how_bad_it_is_and_what_to_do(alert) -> None:
    """And has its row in docs/monitoring.md, with how bad it is and how long it waits."""
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    assert set(alert["annotations"]) == {"summary", "description"}
    row = f"| `{alert['alert']}` | {alert['labels']['severity']} | {alert.get('for', 'at once')} |"
    assert row in DOCUMENT


def test_no_alert_is_documented_that_there_is_not() -> None:
    named = {line.split("`")[1] for line in DOCUMENT.splitlines() if line.startswith("| `Kymograph")}
    assert named == {alert["alert"] for alert in monitoring.ALERTS}
