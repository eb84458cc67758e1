"""Paths of fields: what they select, what is none, and that nothing else is touched."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kymograph.telemetry import errors, fieldpaths, logsettings

POD = {
    "metadata": {"annotations": {"example.com/token": "t-1", "plain": "seen"}},
    "data": {"password": "p-1", "pin": 471, "on": True, "none": None},
    "spec": {"containers": [{"env": [{"value": "e-1"}, {"name": "n"}]}, {"env": [{"value": "e-2"}]}, {"env": None}]},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("data.password", {"p-1"}),
        ("data.pin", {"471"}),
        ("data.on", set()),
        ("data[*]", {"p-1", "471"}),
        ("data", {"p-1", "471"}),
        ("data.missing.further", set()),
        ("data.password.further", set()),
        ("data[0]", set()),
        ("spec.containers[*].env[*].value", {"e-1", "e-2"}),
        ("spec.containers[1].env[0].value", {"e-2"}),
        ("spec.containers[7].env[0].value", set()),
        ("spec.containers", {"e-1", "e-2", "n"}),
        ("metadata.annotations['example.com/token']", {"t-1"}),
        ("metadata['annotations'].plain", {"seen"}),
    ],
)
def test_a_path_selects_the_texts_there_and_below(path, found) -> None:
    """And its replacement leaves none of them there, and all others."""
    made = fieldpaths.parse(path, "f")
    assert set(made.values(POD)) == found
    left = repr(made.replaced(POD, "-"))
    assert not [value for value in found if repr(value) in left]
    assert [value for value in ("p-1", "t-1", "e-1", "e-2", "seen") if value not in left] == [
        value for value in ("p-1", "t-1", "e-1", "e-2", "seen") if value in found
    ]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("", "no path"),
        (None, "no path"),
        (7, "no path"),
        (".a", "must begin with the name of a field"),
        ("$.a", "must begin with the name of a field"),
        ("[*]", "must begin with the name of a field"),
        ("a.", "at character 2"),
        ("a..b", "at character 2"),
        ("a.*", "at character 2"),
        ("a[b]", "at character 2"),
        ("a[-1]", "at character 2"),
        ("a['']", "at character 2"),
        ("a['b", "at character 2"),
        ("a b", "at character 2"),
        ("a.b\n", "at character 4"),
        ("a" * 257, "at most 256 characters"),
        (".".join("a" * 17), "more than 16 steps"),
    ],
)
def test_what_is_no_path_is_refused_with_its_place(path, says) -> None:
    """A path that meant something else would leave a secret where it is."""
    with pytest.raises(errors.SettingsInvalid, match="f: ") as refused:
        fieldpaths.parse(path, "f")
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("redact", "path"),
    [
        ({"paths": ["data.a", "data..b"]}, "logs.redact.paths[1]"),
        ({"paths": ["metadata.name"]}, "logs.redact.paths[0]"),
        ({"paths": ["metadata[*]"]}, "logs.redact.paths[0]"),
        ({"paths": ["a"] * 33}, "logs.redact.paths"),
        ({"fields": ["decision.message", "trace_id"]}, "logs.redact.fields[1]"),
        ({"fields": ["message"]}, "logs.redact.fields[0]"),
    ],
)
def test_a_wrong_path_in_the_resource_is_named(redact, path) -> None:
    """What says which object it is, and what every record has, cannot be taken out."""
    with pytest.raises(errors.SettingsInvalid) as refused:
        logsettings.from_spec({"redact": redact})
    assert refused.value.path == path


def test_paths_in_the_resource_are_read() -> None:
    """None are there by default."""
    assert logsettings.from_spec({}).redacted == logsettings.NOTHING_MORE == logsettings.Redacted()
    read = logsettings.from_spec({"redact": {"paths": ["data.a"], "fields": ["decision.user"]}}).redacted
    assert [path.text for path in (*read.paths, *read.fields)] == ["data.a", "decision.user"]


@given(st.recursive(st.text(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner)))
def test_an_object_of_any_shape_is_looked_at(document) -> None:
    """A review is untrusted input."""
    for text in ("a", "a[*].b", "a.b[0]"):
        path = fieldpaths.parse(text, "f")
        assert all(isinstance(value, str) for value in path.values(document))
        path.replaced(document, "-")


def test_depth_is_no_trouble() -> None:
    """JSON may be nested as deep as its reader allows."""
    deep = {"data": "bottom"}
    for _ in range(5_000):
        deep = {"data": [deep]}
    assert list(fieldpaths.parse("data", "f").values(deep)) == ["bottom"]
