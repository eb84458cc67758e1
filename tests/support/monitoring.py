"""What manifests/monitoring ships, as tests read it: the rules, the dashboards, and all their expressions."""

import dataclasses
import json
import pathlib
import re
from typing import Any

import yaml

ROOT = pathlib.Path(__file__).parents[2]
FOLDER = ROOT / "manifests" / "monitoring"
DASHBOARDS = {path.name: json.loads(path.read_text()) for path in sorted((FOLDER / "dashboards").glob("*.json"))}
RULES: dict[str, Any] = yaml.safe_load((FOLDER / "rules.yaml").read_text())
ALERTS: list[dict[str, Any]] = [rule for group in RULES["spec"]["groups"] for rule in group["rules"]]

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


@dataclasses.dataclass(frozen=True)
class Expression:
    """One PromQL expression.

    Attributes:
        where: The file, and the panel, variable or alert in it.
        promql: As it stands there, with Grafana's variables.
    """

    where: str
    promql: str

    def __str__(self) -> str:
        return self.where

    def filled(self, prefix: str) -> str:
        """As Grafana sends it, with everything selected."""
        values = {"prefix": prefix, "__rate_interval": "1m"}
        return _VARIABLE.sub(lambda match: values.get(match[1] or match[2], ".*"), self.promql)


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """The panels of a dashboard that show something."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def of_dashboards() -> list[Expression]:
    """The expressions of all panels that ask Prometheus."""
    return [
        Expression(f"{file}: {panel['title']} {target['refId']}", target["expr"])
        for file, board in DASHBOARDS.items()
        for panel in panels(board)
        for target in panel["targets"]
        if target["datasource"]["type"] == "prometheus"
    ]


def of_variables() -> list[Expression]:
    """The selectors whose labels fill the variables of dashboards: `label_values(metric, label)`, as a grouping."""
    found = []
    for file, board in DASHBOARDS.items():
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                ((metric, label),) = re.findall(r"^label_values\((\S+), (\w+)\)$", variable["definition"])
                found.append(Expression(f"{file}: ${variable['name']}", f"group by ({label}) ({metric})"))
    return found


def of_alerts() -> list[Expression]:
    """The expressions of all alerts."""
    return [Expression(f"rules.yaml: {alert['alert']}", alert["expr"]) for alert in ALERTS]
