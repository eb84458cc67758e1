"""Large files are cut into parts without being parsed, and every object comes out of the parts once and unchanged."""

import io
import json

import hypothesis
import pytest
from hypothesis import strategies

from kymograph.apimachinery import yamls, yamlwriting
from kymograph.cli.applying import stream, work
from kymograph.cli.offline import resources

PATIENT = (hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow)


def objects(count, text="x"):
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"c{number}", "namespace": "n"},
            "data": {"text": text, "json": '{"items": [}', "yaml": "- a\n- b\nitems:\n- c\n"},
        }
        for number in range(count)
    ]


def read(data):
    reader = yamls.Reader()
    cut = list(stream.parts(io.BytesIO(data), "f"))
    return cut, [each for part in cut for each in work.loaded(part, reader, resources.CLUSTER_SCOPED)]


@pytest.fixture
def small(monkeypatch):
    """Blocks and limits so small that every seam falls somewhere."""

    def set_to(block):
        monkeypatch.setattr(stream, "BLOCK", block)
        monkeypatch.setattr(stream, "WHOLE", 200)

    return set_to


def documents(wanted):
    return "---\n".join(map(yamlwriting.dump, wanted))


def lines(wanted):
    return "".join(f"{json.dumps(each)}\n" for each in wanted)


def yaml_list(wanted):
    return yamlwriting.dump({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": wanted})


def indented_yaml_list(wanted):
    items = "".join(f"    {line}\n" for line in yamlwriting.dump(wanted).splitlines())
    return f"kind: List\nitems:\n{items}\nmetadata: {{}}\n"


def json_list(wanted):
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": wanted, "metadata": {}}, indent=4)


def bare_json_list(wanted):
    return json.dumps({"kind": "List", "items": wanted}, separators=(",", ":"))


@pytest.mark.parametrize("write", [documents, lines, yaml_list, indented_yaml_list, json_list, bare_json_list])
@pytest.mark.parametrize("block", [7, 64, 300, 1_000_000])
def test_every_object_comes_out_once(small, write, block):
    small(block)
    wanted = objects(12)
    cut, found = read(write(wanted).encode())
    assert found == wanted
    assert len(cut) > 1 or block > 100_000


@hypothesis.settings(suppress_health_check=PATIENT, deadline=None, max_examples=40)
@hypothesis.given(
    strategies.sampled_from([documents, lines, yaml_list, indented_yaml_list, json_list, bare_json_list]),
    strategies.integers(1, 400),
    strategies.text(),
)
def test_seams_fall_anywhere_in_any_text(small, write, block, text):
    small(block)
    wanted = objects(3, text)
    assert read(write(wanted).encode())[1] == wanted


def test_a_list_may_stand_beside_other_documents(small):
    small(50)
    wanted = objects(9)
    text = f"{yaml_list(wanted[:4])}---\n{json_list(wanted[4:7])}\n---\n{documents(wanted[7:])}"
    assert read(text.encode())[1] == wanted


def test_small_files_are_not_cut():
    cut, found = read(documents(objects(3)).encode())
    assert len(cut) == 1
    assert len(found) == 3


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("apiVersion: v1\nkind: Pod\n---\nmetadata: {}\n", "f:4: apiVersion: must be text"),
        ("apiVersion: v1\nkind: Pod\n---\na: [\n", "f:5: column 1: "),
        ("kind: List\nitems:\n- {apiVersion: v1, kind: Pod}\n- 1\n", "f:4: is no Kubernetes object"),
        ('{"apiVersion": "v1", "kind": "Pod"}\n{"kind": "Pod"}\n', "f:2: apiVersion: must be text"),
        ('{"apiVersion": "v1", "kind": "Pod"}\n{"kind":\n', "f:[23]: "),
        ("5", "f:1: is no Kubernetes object"),
    ],
)
def test_what_is_no_object_is_refused_with_its_line(text, problem):
    with pytest.raises(work.errors.InputInvalid, match=problem):
        read(text.encode())


def test_a_large_document_that_is_no_list_is_refused_or_read_whole(small):
    small(50)
    (one,) = objects(1, "long " * 100)
    assert read(yamlwriting.dump(one).encode())[1] == [one]
    with pytest.raises(yamls.YAMLInvalid, match="no List"):
        read(yaml_list(objects(5)).replace("kind: List", "kind: Thing").encode())
    with pytest.raises(yamls.YAMLInvalid, match="does not end"):
        read(json_list(objects(5))[:-30].rpartition("}")[0].encode())


@hypothesis.settings(suppress_health_check=PATIENT, deadline=None, max_examples=40)
@hypothesis.given(
    strategies.integers(1, 50), strategies.binary(max_size=200) | strategies.text('{}[]",:-\n #aki ').map(str.encode)
)
def test_whatever_is_given_is_read_or_refused(small, block, data):
    small(block)
    try:
        found = read(data)[1]
    except (work.errors.InputInvalid, yamls.YAMLInvalid):
        return
    assert all(isinstance(each["kind"], str) for each in found)
