"""References to images mean what they mean to go-containerregistry, by which Kyverno asks registries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kymograph.clients.registry import errors, reference

DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    ("text", "name", "identifier"),
    [
        ("nginx", "index.docker.io/library/nginx", "latest"),
        ("nginx:1.25", "index.docker.io/library/nginx", "1.25"),
        ("shop/web", "index.docker.io/shop/web", "latest"),
        ("docker.io/nginx", "index.docker.io/library/nginx", "latest"),
        ("index.docker.io/shop/web:v1", "index.docker.io/shop/web", "v1"),
        ("ghcr.io/kyverno/kyverno:v1.19.1", "ghcr.io/kyverno/kyverno", "v1.19.1"),
        ("localhost/web", "localhost/web", "latest"),
        ("localhost:5000/web", "localhost:5000/web", "latest"),
        ("registry:5000/web:v1", "registry:5000/web", "v1"),
        ("[::1]:5000/web:v1", "[::1]:5000/web", "v1"),
        (f"nginx@{DIGEST}", "index.docker.io/library/nginx", DIGEST),
        (f"nginx:1.25@{DIGEST}", "index.docker.io/library/nginx", f"1.25@{DIGEST}"),
        (f"localhost:5000/web@{DIGEST}", "localhost:5000/web", DIGEST),
        ("gcr.io/a/b/c/d", "gcr.io/a/b/c/d", "latest"),
    ],
)
def test_names_are_completed(text, name, identifier) -> None:
    """With the registry, the library and the tag that are left out."""
    parsed = reference.parse(text)
    assert (parsed.name, parsed.identifier) == (name, identifier)


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "@", "a:", f"a@{DIGEST}@{DIGEST}", "nginx@sha256:ab", "Nginx", "a b", "../../etc", "gcr.io/"),
        *("gcr.io//a", "gcr.io/a/../b", "evil.example?/a", "evil.example#/a", "user@evil.example/a", "nginx:a/b:c d"),
        "x" * 300,
    ],
)
def test_what_is_no_reference_is_refused(text) -> None:
    """Nothing of it ends up in a URL."""
    with pytest.raises(errors.ReferenceInvalid):
        reference.parse(text)


@given(st.text(alphabet="aA0.:/@-_ ?#%[]\\", max_size=40))
def test_a_reference_has_nothing_in_it_that_means_something_in_a_url(text) -> None:
    """Whatever was written."""
    try:
        parsed = reference.parse(text)
    except errors.ReferenceInvalid:
        return
    assert not set(f"{parsed.name}{parsed.asked}") & set("?#%@\\ ")
    assert ".." not in parsed.repository.split("/")
