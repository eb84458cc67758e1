"""What the documents say is so: nothing that users can set or see is missing, and links lead somewhere."""

import argparse
import ast
import importlib
import pathlib
import pkgutil
import re

import pytest

from kymograph.cli import run
from kymograph.controllers.admission import spans
from kymograph.engine.watching import Step
from kymograph.model import tracingconfiguration
from kymograph.telemetry import instruments, semconv, views

ROOT = pathlib.Path(__file__).parents[2]
SOURCES = sorted((ROOT / "operator" / "kymograph").rglob("*.py"))
DOCUMENTS = {"README.md": (ROOT / "README.md").read_text()} | {
    str(path.relative_to(ROOT / "docs")): path.read_text() for path in sorted((ROOT / "docs").rglob("*.md"))
}
OPERATIONS, TELEMETRY = DOCUMENTS["operations.md"], DOCUMENTS["telemetry.md"]


def flags():
    parser = argparse.ArgumentParser(add_help=False)
    run.configure(parser)
    return [option for action in parser._actions for option in action.option_strings]


@pytest.mark.parametrize("flag", flags())
def test_every_flag_is_documented(flag) -> None:
    """In docs/operations.md, by its own name."""
    assert re.search(rf"`{flag}[`= ]", OPERATIONS), f"{flag} is not in docs/operations.md"


def leaves(schema, path=""):
    properties = schema.get("properties")
    if not properties:
        return [path]
    return [leaf for name, inner in properties.items() for leaf in leaves(inner, f"{path}.{name}".lstrip("."))]


def fields():
    spec = tracingconfiguration.TRACING_CONFIGURATION.versions[0].schema["properties"]["spec"]
    controllers = "|".join(spec["properties"]["traces"]["properties"]["controllers"]["properties"])
    return sorted({re.sub(rf"\.controllers\.({controllers})\.", ".controllers.<name>.", leaf) for leaf in leaves(spec)})


@pytest.mark.parametrize("field", fields())
def test_every_field_of_a_tracing_configuration_is_documented(field) -> None:
    """In docs/operations.md, by its path, or by its name where what is around it is named by path."""
    if re.search(rf"`{re.escape(field)}[`.]", OPERATIONS):
        return
    around, _, name = field.rpartition(".")
    parents = [around.rsplit(".", depth)[0] for depth in range(around.count("."))]
    assert any(f"`{parent}" in OPERATIONS for parent in parents), f"{field} is not in docs/operations.md"
    assert re.search(rf"`[^`\n]*\b{name}\b[^`\n]*`", OPERATIONS), f"{field} is not in docs/operations.md"


def descriptions():
    modules = [
        importlib.import_module(f"{instruments.__name__}.{each.name}")
        for each in pkgutil.iter_modules(instruments.__path__)
    ]
    return [each for module in modules for each in vars(module).values() if isinstance(each, views.Description)]


@pytest.mark.parametrize("about", descriptions(), ids=lambda about: about.name)
def test_every_metric_and_its_labels_are_documented(about) -> None:
    """In docs/telemetry.md; a row of `the same` has the labels of the row before."""
    (row,) = re.findall(rf"^\| `{about.name}` \|.*$", TELEMETRY, re.MULTILINE)
    _, _, kind, labels, _ = (cell.strip() for cell in row.split("|"))
    if labels == "the same":
        before = TELEMETRY[: TELEMETRY.index(row)].splitlines()
        labels = next(line for line in reversed(before) if "the same" not in line).split("|")[3]
    assert re.findall(r"`(\w+)`", labels) == list(about.labels)
    assert kind in ("counter", "gauge", "histogram")


def strings(*functions, at=0):
    """The beginnings of the texts that our sources give to functions of these names, as their first argument or so."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or len(node.args) <= at:
                continue
            first = node.args[at].values[0] if isinstance(node.args[at], ast.JoinedStr) else node.args[at]
            if node.func.attr in functions and isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value


SDK_METRICS = sorted(
    set(
        strings(
            "create_counter",
            "create_histogram",
            "create_observable_counter",
            "create_observable_gauge",
            "create_observable_up_down_counter",
            "Instrument",
        )
    )
)


@pytest.mark.parametrize("name", SDK_METRICS)
def test_every_metric_about_the_operator_itself_is_documented(name) -> None:
    """Those of the SDK's instruments; counters end in `_total` for Prometheus."""
    assert re.search(rf"^\| `{name}(_total)?` \|", TELEMETRY, re.MULTILINE)


SPANS = sorted(
    {
        *(name for name in strings("start_as_current_span", "start_span", "start") if re.match("[A-Z]{4}", name)),
        *strings("root", at=1),
        *(spans.describe(step, None)[0] for step in Step if step not in (Step.POLICY, Step.RULE)),
        "POLICY ",
        "RULE ",
        "admission validate ",
    }
)


@pytest.mark.parametrize("name", SPANS)
def test_every_span_is_documented(name) -> None:
    """By its name, up to where it varies."""
    assert len(SPANS) > 8
    assert re.search(rf"^\| `{name}[`<]", TELEMETRY, re.MULTILINE)


def attributes():
    """The attributes and events that our sources use."""
    used = {name for path in SOURCES for name in re.findall(r"\bsemconv\.([A-Z_]+)\b", path.read_text())}
    return sorted({getattr(semconv, name) for name in used})


def written_out(text):
    """The names in backticks; one that begins with a dot continues the one before, whose last part it replaces."""
    found, before = set(), ""
    for name in re.findall(r"`([\w.]+)`", text):
        before = f"{before.rpartition('.')[0]}{name}" if name.startswith(".") else name
        found.add(before)
    return found


@pytest.mark.parametrize("attribute", attributes())
def test_every_attribute_is_documented(attribute) -> None:
    """Of spans, events and the resource."""
    assert attribute in written_out(TELEMETRY)


def test_no_attribute_is_documented_that_there_is_not() -> None:
    """Names that a reader would search for in vain."""
    ours = {name for name in written_out(TELEMETRY) if re.match(r"(admission|kyverno|kymograph|kube)\.", name)}
    assert ours - set(attributes()) == set()


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_links_lead_somewhere(name) -> None:
    """To files of the repository, and to headings where they name one."""
    folder = ROOT if name == "README.md" else (ROOT / "docs" / name).parent
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", DOCUMENTS[name]):
        path, _, anchor = target.partition("#")
        text = (folder / path).read_text() if path else DOCUMENTS[name]
        headings = {
            re.sub(r"[^\w -]", "", each).strip().lower().replace(" ", "-")
            for each in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        }
        assert not anchor or anchor in headings, target
