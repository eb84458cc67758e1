"""Encodings, digests, images and URLs; both tables were checked against Kyverno."""

import pytest

from kymograph.engine import budget, errors, jmespath, needs

RESULTS = [
    ("base64_decode('aGVsbG8=')", "hello"),
    ("base64_decode('aGVs\nbG8=')", "hello"),
    ("base64_decode('gICA')", "\ufffd\ufffd\ufffd"),
    ("base64_decode('4oI=')", "\ufffd\ufffd"),
    ("base64_decode('YR==')", "a"),
    ("base64_encode('h\xe9')", "aMOp"),
    ("parse_json('{\"a\": [1, 2.5, null, true]}')", {"a": [1, 2.5, None, True]}),
    ('parse_json(\'{"a": 1, "a": 2}\')', {"a": 2}),
    ("parse_json(' \"x\" ')", "x"),
    ("parse_yaml('a: [1, yes, 0o7, ~]\nb: {c: 1.5}')", {"a": [1, True, 7, None], "b": {"c": 1.5}}),
    ("parse_yaml('- a\n- b: 2')", ["a", {"b": 2}]),
    ("parse_yaml('x')", "x"),
    ("parse_yaml('a: &x [1]\nb: *x')", {"a": [1], "b": [1]}),
    ("parse_yaml('1: a')", {"1": "a"}),
    ("parse_yaml('')", None),
    ("sha256('alertmanager')", "11e295cda8ce492b522a7ba16a3a73db96012f00acd8f129d5c2a3012c3408d3"),
    ("sha1('alertmanager')", "9fe84adc4eb8248be3322c8754a0cf6219d122d6"),
    ("md5('alertmanager')", "21df80bc1d5b811e5525fe3693d08b21"),
    ("image_normalize('nginx')", "docker.io/nginx:latest"),
    (
        "image_normalize('ghcr.io/a/b@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa')",
        "ghcr.io/a/b@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ),
    ("image_normalize('localhost:5000/x:1')", "localhost:5000/x:1"),
]

REFUSALS = [
    ("base64_decode('YQ')", "illegal base64 data at input byte 0"),
    ("base64_decode('YQ=')", "illegal base64 data at input byte 3"),
    ("base64_decode('YQ=\n=x')", "illegal base64 data at input byte 5"),
    ("base64_decode('Y!==')", "illegal base64 data at input byte 1"),
    ("base64_decode('\xe9')", "illegal base64 data at input byte 0"),
    ("base64_decode('YQ==YQ==')", "illegal base64 data at input byte 4"),
    ("parse_json('')", "unexpected end of JSON input"),
    ("parse_json('tru')", "invalid character ' ' in literal true (expecting 'e')"),
    ("parse_json('{\"a\" 1}')", "invalid character '1' after object key"),
    ("parse_json('{a: 1}')", "invalid character 'a' looking for beginning of object key string"),
    ("parse_json('[1 2]')", "invalid character '2' after array element"),
    ('parse_json(\'{"a": 1 "b"}\')', "invalid character '\"' after object key:value pair"),
    ("parse_json('1 2')", "invalid character '2' after top-level value"),
    ("parse_json('1.')", "invalid character ' ' after decimal point in numeric literal"),
    ("parse_json('\"\\x\"')", "invalid character 'x' in string escape code"),
    ("parse_json('\"a\nb\"')", "invalid character '\\n' in string literal"),
    ("parse_json('1e400')", "json: cannot unmarshal number 1e400 into Go value of type float64"),
    (
        "image_normalize('Nginx')",
        (
            "JMESPath function 'image_normalize': bad image: docker.io/Nginx, defaultRegistry: "
            "docker.io, enableDefaultRegistryMutation: true: repository name must be lowercase"
        ),
    ),
    (
        "image_normalize('')",
        (
            "JMESPath function 'image_normalize': bad image: docker.io/, defaultRegistry: docker.io, "
            "enableDefaultRegistryMutation: true: invalid reference format"
        ),
    ),
    (
        "image_normalize('a b')",
        (
            "JMESPath function 'image_normalize': bad image: docker.io/a b, defaultRegistry: "
            "docker.io, enableDefaultRegistryMutation: true: invalid reference format"
        ),
    ),
    ("is_external_url(':x')", 'parse ":x": missing protocol scheme'),
    ("is_external_url('http://8.8.8.8:x')", 'parse "http://8.8.8.8:x": invalid port ":x" after host'),
    ("is_external_url('http://a b/')", 'parse "http://a b/": invalid character " " in host name'),
    ("is_external_url('/path')", "lookup : no such host"),
    ("is_external_url('http://%zz/')", 'parse "http://%zz/": invalid URL escape "%zz"'),
]


def search(expression: str) -> object:
    return jmespath.compile(expression).search({}, budget.Budget())


@pytest.mark.parametrize(("expression", "result"), RESULTS)
def test_gives_what_kyverno_gives(expression: str, result: object) -> None:
    assert search(expression) == result


@pytest.mark.parametrize(("expression", "reason"), REFUSALS)
def test_refuses_in_kyvernos_words(expression: str, reason: str) -> None:
    with pytest.raises(errors.EvaluationError) as failed:
        search(expression)
    assert str(failed.value) == reason


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + level)}: &{chr(98 + level)} [{','.join([f'*{chr(97 + level)}'] * 9)}]\n" for level in range(12)
)


def test_a_bomb_of_aliases_is_refused() -> None:
    with pytest.raises(errors.EvaluationError, match="excessive aliasing"):
        jmespath.compile("parse_yaml(@)").search(BOMB, budget.Budget())


@pytest.mark.parametrize("expression", ["parse_yaml(@)", "parse_json(@)", "base64_encode(@)"])
def test_documents_are_paid_for_before_they_are_read(expression: str) -> None:
    with pytest.raises(errors.BudgetExhausted):
        jmespath.compile(expression).search("[" * 10_000, budget.Budget(size=5_000, steps=5_000))


def test_addresses_of_a_name_are_asked_for() -> None:
    expression = jmespath.compile("is_external_url('https://example.com/x')")
    facts = needs.Facts()
    with pytest.raises(needs.Needed) as missing:
        expression.search({}, budget.Budget(facts=facts))
    assert missing.value.need == needs.HostAddresses("example.com")
    for addresses, result in ((("8.8.8.8", "2001:db8::1"), True), (("8.8.8.8", "10.0.0.1"), False)):
        facts.add(needs.HostAddresses("example.com"), addresses)
        assert expression.search({}, budget.Budget(facts=facts)) is result
    facts.add(needs.HostAddresses("example.com"), ())
    with pytest.raises(errors.EvaluationError, match=r"lookup example\.com: no such host"):
        expression.search({}, budget.Budget(facts=facts))


def test_half_a_surrogate_pair_breaks_nothing() -> None:
    assert search('base64_encode(`"\\ud800"`)') == "77+9"
