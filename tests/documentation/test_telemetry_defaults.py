"""The table `flag, variable, is the default of` in docs/operations.md has all that there are, and nothing else.

That a flag wins over a variable and a field over both is tested with the flags.
"""

import argparse
import pathlib
import re

import pytest

from kymograph.cli import telemetryflags
from kymograph.model import tracingconfiguration
from kymograph.telemetry import resource, settings

TEXT = (pathlib.Path(__file__).parents[2] / "docs" / "operations.md").read_text()
SECTION = TEXT[TEXT.index("### Flags and environment variables") :].split("\n#")[0]
ROWS = [[cell.strip() for cell in row.split("|")] for row in re.findall(r"^\|(.*)\|$", SECTION, re.MULTILINE)[2:]]
OF_LOGS = {"--log-format", "--loggingFormat", "--log-level"}
"""Flags of ours that are defaults of fields, too."""


class Asked(dict[str, str]):
    """An environment without anything in it, that notes what is looked for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def get(self, name, default=None):
        self.names.add(name)
        return default


@pytest.fixture(scope="module")
def variables():
    """Those that are read for everything there is to export, in their common form where they have one."""
    asked = Asked()
    settings.from_spec({"traces": {}, "metrics": {"otlp": {}}, "logs": {"otlp": {}}}, asked)
    resource.attributes_of({}, asked, {})
    common = {name: re.sub(r"_OTLP_(TRACES|METRICS|LOGS)_", "_OTLP_", name) for name in asked.names}
    return {name for name in asked.names if common[name] == name or common[name] not in asked.names}


def named(column, pattern):
    return {name for row in ROWS for name in re.findall(pattern, row[column])}


def test_every_flag_has_a_row_and_every_row_a_flag_that_there_is() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    telemetryflags.declare(parser)
    flags = {option for action in parser._actions for option in action.option_strings}
    assert named(0, r"`(--[\w-]+)`") == flags | OF_LOGS


def test_every_variable_has_a_row_and_every_row_a_variable_that_is_read(variables) -> None:
    """But `OTEL_TRACES_SAMPLER_ARG`, which is read where the sampler needs it."""
    assert named(1, r"`(OTEL_\w+)`") == variables | {"OTEL_TRACES_SAMPLER_ARG"}


def test_every_row_says_of_which_field_it_is_the_default() -> None:
    """By its path in the TracingConfiguration, or by its end where several signals have it; or that there is none."""
    schema = tracingconfiguration.TRACING_CONFIGURATION.versions[0].schema["properties"]["spec"]

    def paths(of, path=()):
        for name, inner in of.get("properties", {}).items():
            yield ".".join((*path, name))
            yield from paths(inner, (*path, name))

    known = set(paths(schema))
    for row in ROWS:
        field = re.match(r"`([\w.]+)`", row[2])
        if field is None:
            assert row[2].startswith("nothing: "), row
        else:
            assert any(path == field[1] or path.endswith(f".{field[1]}") for path in known), row


def test_the_order_is_said() -> None:
    assert re.search(r"The field wins over the flag, the flag over the\s+variable", SECTION)
