"""YAML is read as sigs.k8s.io/yaml reads it; what each text becomes was looked up in its answers."""

import json
import math

import hypothesis
import pytest
from hypothesis import strategies

from kymograph.apimachinery import yamls, yamlwriting


def value(text, *, strict=False):
    (loaded,) = yamls.load_all(text, "f.yaml", strict=strict)
    return loaded.value


SCALARS = [
    ("y", True),
    ("on", True),
    ("Yes", True),
    ("off", False),
    ("n", False),
    ("yEs", "yEs"),
    ("~", None),
    ("null", None),
    ("1e3", 1000),
    ("1.0", 1),
    ("-0.0", 0),
    ("1.5", 1.5),
    (".5", 0.5),
    ("._5", "._5"),
    (".7_392", 0.7392),
    ("5.", 5),
    ("0o7", 7),
    ("0777", 511),
    ("08", 8),
    ("0x_1F", 31),
    ("+0x1F", 31),
    ("-0b11", -3),
    ("0b-1", -1),
    ("1__0", 10),
    ("1_", 1),
    ("9223372036854775807", 9223372036854775807),
    ("-9223372036854775809", -9223372036854775809.0),
    ("18446744073709551615", 1.8446744073709552e19),
    ("99999999999999999999", 1e20),
    ("1234567890123456789.0", 1234567890123456800),
    ("1e400", "1e400"),
    ("2001-01-01", "2001-01-01"),
    ("12:30:45", "12:30:45"),
    ("1.2.3", "1.2.3"),
    ("'1'", "1"),
    ("! 5", "5"),
    ("!!str 5", "5"),
    ("!!int '5'", 5),
    ("!!float 5", 5),
    ("!!bool yes", True),
    ("!!binary aGk=", "hi"),
    ("!!binary /w==", "\ufffd"),
    ("!!timestamp 2001-01-01", "2001-01-01"),
    ("!local b", "b"),
    ("<<", "<<"),
]


@pytest.mark.parametrize(("text", "expected"), SCALARS)
def test_a_scalar_becomes_what_kubernetes_makes_of_it(text, expected):
    found = value(f"a: {text}")["a"]
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("1", "1"),
        ("0x10", "16"),
        ("1.5", "1.5"),
        ("1e5", "100000"),
        ("1e6", "1e+06"),
        ("1234567.5", "1.2345675e+06"),
        ("0.00001", "1e-05"),
        ("1e39", ".inf"),
        (".nan", ".nan"),
        ("yes", "true"),
        ("n", "false"),
        ("'null'", "null"),
        ("!!str 5", "5"),
    ],
)
def test_keys_become_text(text, key):
    assert value(f"{text}: x") == {key: "x"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: .inf", "no infinity"),
        ("null: a", "a key cannot be null"),
        ("18446744073709551615: a", "a key cannot be"),
        ("? [a]\n: b", "a key must be"),
        ("a: &x [*x]", "contains itself"),
        ("a: *x", "unknown anchor"),
        ("a: !!int abc", "cannot decode"),
        ("a: !!int 5.0", "cannot decode"),
        ("a: !!binary zz", "base64"),
        ("a: !!timestamp x", "cannot decode"),
        ("a: {<<: 5}", "map merge"),
        ("l: &l [{a: 1}]\nb: {<<: *l}", "map merge"),
        ("\ta: b", "cannot start any token"),
        ("a: b\n...\nc: d", "expected <document start>"),
        ("a: b\n--- c: d", "invalid Yaml document separator"),
        ("a: [", "did not find expected node content"),
    ],
)
def test_what_kubernetes_refuses_is_refused_with_its_place(text, reason):
    with pytest.raises(yamls.YAMLInvalid, match=reason) as caught:
        yamls.load_all(text, "f.yaml")
    assert caught.value.file == "f.yaml"
    assert 1 <= caught.value.line <= text.count("\n") + 2


def test_the_last_of_two_equal_keys_counts_unless_reading_is_strict():
    assert value("{a: 1, a: 2}") == {"a": 2}
    with pytest.raises(yamls.YAMLInvalid, match=r"f\.yaml:2:4: key 'a' already set in map"):
        value("a: 1\na: 2", strict=True)
    with pytest.raises(yamls.YAMLInvalid, match="already set"):
        value("x: &x {a: 1}\ny: {<<: *x, a: 2}", strict=True)
    with pytest.raises(yamls.YAMLInvalid):
        value('{"a": "\\ud83d\\ude00", "a": 2}', strict=True)


def test_a_merge_counts_where_it_stands():
    assert value("{a: 1, <<: {a: 2}}") == {"a": 2}
    assert value("{<<: {a: 2}, a: 1}") == {"a": 1}
    assert value("a: '1'\n<<: [{a: 2}, {b: 3, a: 4}]") == {"a": 2, "b": 3}


def test_aliases_share_and_scalars_as_keys_keep_their_type():
    assert value("a: &x {b: 1}\nc: [*x, *x]") == {"a": {"b": 1}, "c": [{"b": 1}, {"b": 1}]}
    assert value("a: &b 1e6\n*b : c") == {"a": 1000000, "1e+06": "c"}


def test_aliases_that_multiply_without_end_are_refused():
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(yamls.YAMLInvalid, match="excessive aliasing"):
        value("\n".join(levels))


def test_depth_is_bounded():
    assert value("[" * 200 + "]" * 200)
    for text in ("[" * 201 + "]" * 201, "[" * 100_000, '{"a":' * 300 + "1" + "}" * 300, "- " * 50_000):
        with pytest.raises(yamls.YAMLInvalid):
            value(text)


def test_documents_are_split_at_lines_of_dashes_and_empty_ones_left_out():
    text = "# only a comment\n---\na: 1\n---\n---\n# nothing\n--- # comment\nb: |\n  --- text\n---\n"
    found = yamls.load_all(text, "f.yaml")
    assert [(each.value, each.line) for each in found] == [({"a": 1}, 3), ({"b": "--- text\n"}, 8)]


def test_lines_of_fields_are_found_in_the_file():
    text = "# head\n---\nkind: Policy\nmetadata:\n  annotations:\n    a.b/c: x\n"
    text += "spec:\n  rules:\n  - name: a\n  - name: b\n"
    (loaded,) = yamls.load_all(text, "p.yaml")
    assert loaded.line_of("spec.rules[1].name") == 10
    assert loaded.line_of("metadata.annotations.a.b/c") == 6
    assert loaded.line_of("spec.rules[7]") == 8
    assert loaded.line_of("spec.rules[0].match.any") == 9
    assert loaded.place() == "p.yaml:3"


def test_items_of_lists_are_taken_one_by_one_and_know_their_lines():
    text = "kind: List\nitems:\n- kind: Pod\n  metadata:\n    name: a\n- kind: List\n  items:\n  - kind: Node\n"
    (loaded,) = yamls.load_all(text, "l.yaml")
    found = list(yamls.flatten(loaded))
    assert [each.value["kind"] for each in found] == ["Pod", "Node"]
    assert [each.line_of("kind") for each in found] == [3, 8]
    typed = {"kind": "PodList", "apiVersion": "v1", "items": [{"metadata": {}}]}
    assert [item for _, item in yamls.objects(typed)] == [{"kind": "Pod", "apiVersion": "v1", "metadata": {}}]


def test_json_is_yaml_with_kubernetes_numbers():
    assert value('{"a": 1.0, "b": 1e3, "c": 12345678901234567890, "d": "1.0", "e": "\\ud83d\\ude00"}') == {
        "a": 1,
        "b": 1000,
        "c": 12345678901234567890.0,
        "d": "1.0",
        "e": "😀",
    }
    assert [each.value for each in yamls.load_all('{"a": 1}\n{"a": 2} {"a": 3}', "f.json")] == [
        {"a": 1},
        {"a": 2},
        {"a": 3},
    ]


def test_byte_order_marks_are_passed_over_and_other_bytes_refused_with_their_place():
    assert value(b"\xef\xbb\xbfa: 1") == {"a": 1}
    assert value("a: ü".encode("utf-16")) == {"a": "ü"}
    with pytest.raises(yamls.YAMLInvalid, match=r"f\.yaml:2:4: not UTF-8 text"):
        yamls.load_all(b"a: 1\nb: \xff", "f.yaml")


JSON = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers(-(2**63), 2**63 - 1) | strategies.text(),
    lambda inner: strategies.lists(inner) | strategies.dictionaries(strategies.text(), inner),
    max_leaves=30,
)


@hypothesis.given(JSON)
def test_json_reads_back_as_itself(document):
    assert value(json.dumps([document], ensure_ascii=False)) == [document]


@hypothesis.given(JSON)
def test_what_is_written_reads_back_as_itself(document):
    written = yamlwriting.dump({"document": document})
    assert value(written, strict=True) == {"document": document}


@hypothesis.given(strategies.text(alphabet="0123456789+-._eExXoObBaAfFyYnN~:T'\"#tru\n[]{},&*!|> ", max_size=40))
def test_whatever_is_given_is_read_or_refused(text):
    try:
        found = [each.value for each in yamls.load_all(text, "f.yaml")]
    except yamls.YAMLInvalid:
        return
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@hypothesis.given(strategies.binary(max_size=60))
def test_whatever_bytes_are_given_are_read_or_refused(data):
    try:
        found = yamls.load_all(data, "f.yaml")
    except yamls.YAMLInvalid:
        return
    assert all(each.line >= 1 for each in found)


@hypothesis.given(strategies.floats(allow_nan=False, allow_infinity=False))
def test_a_float_keeps_its_value(number):
    assert math.isclose(value(f"a: {number!r}")["a"], number, rel_tol=0, abs_tol=0)
