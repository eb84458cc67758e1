"""References of images, as the distribution project's grammar and Kyverno's `images` have them."""

import hypothesis
import pytest
from hypothesis import strategies

from kymograph.apimachinery import imageref

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "registry", "path", "name", "tag", "digest", "reference"),
    [
        ("nginx", "docker.io", "nginx", "nginx", "latest", "", "docker.io/nginx:latest"),
        ("nginx:1.2", "docker.io", "nginx", "nginx", "1.2", "", "docker.io/nginx:1.2"),
        ("a/b:v1", "docker.io", "a/b", "b", "v1", "", "docker.io/a/b:v1"),
        ("ghcr.io/a/b/c", "ghcr.io", "a/b/c", "c", "latest", "", "ghcr.io/a/b/c:latest"),
        ("localhost/a", "localhost", "a", "a", "latest", "", "localhost/a:latest"),
        ("localhost:5000/a:b", "localhost:5000", "a", "a", "b", "", "localhost:5000/a:b"),
        ("[::1]:5000/a", "[::1]:5000", "a", "a", "latest", "", "[::1]:5000/a:latest"),
        ("Reg/a", "Reg", "a", "a", "latest", "", "Reg/a:latest"),
        (f"x@{DIGEST}", "docker.io", "x", "x", "", DIGEST, f"docker.io/x@{DIGEST}"),
        (f"x:1@{DIGEST}", "docker.io", "x", "x", "1", DIGEST, f"docker.io/x@{DIGEST}"),
    ],
)
def test_a_reference_is_taken_apart(text, registry, path, name, tag, digest, reference):
    found = imageref.parse(text)
    assert (found.registry, found.path, found.name, found.tag, found.digest) == (registry, path, name, tag, digest)
    assert found.reference == str(found) == reference
    assert found.reference_with_tag == f"{registry}/{path}:{tag}"


@pytest.mark.parametrize(
    ("text", "naming", "registry", "path", "reference"),
    [
        ("nginx", ("ghcr.io", True), "ghcr.io", "nginx", "ghcr.io/nginx:latest"),
        ("a/b:v1", ("mirror.example/hub", True), "mirror.example", "hub/a/b", "mirror.example/hub/a/b:v1"),
        ("quay.io/a", ("ghcr.io", True), "quay.io", "a", "quay.io/a:latest"),
        ("a/b", ("ghcr.io", False), "", "a/b", "a/b:latest"),
        (f"a@{DIGEST}", ("docker.io", False), "", "a", f"a@{DIGEST}"),
        ("quay.io/a", ("docker.io", False), "quay.io", "a", "quay.io/a:latest"),
        ("my_team/a", ("docker.io", False), "my_team", "a", "my_team/a:latest"),
        ("nginx", ("mirror", True), "mirror", "nginx", "mirror/nginx:latest"),
    ],
)
def test_whose_images_are_that_name_no_registry_is_said_by_the_installation(text, naming, registry, path, reference):
    found = imageref.parse(text, imageref.Naming(*naming))
    assert (found.registry, found.path, found.reference) == (registry, path, reference)


def test_a_refusal_says_which_registry_was_filled_in():
    with pytest.raises(imageref.ReferenceInvalid) as invalid:
        imageref.parse("Nginx", imageref.Naming("ghcr.io", shown=False))
    assert str(invalid.value) == (
        "bad image: ghcr.io/Nginx, defaultRegistry: ghcr.io, enableDefaultRegistryMutation: false: "
        "repository name must be lowercase"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "invalid reference format"),
        ("a b", "invalid reference format"),
        ("Nginx", "repository name must be lowercase"),
        ("a:" + "t" * 129, "invalid reference format"),
        ("a//b", "invalid reference format"),
        ("a@sha256:" + "A" * 64, "invalid checksum digest format"),
        ("a@sha256:" + "a" * 63, "invalid checksum digest length"),
        ("a@md5:" + "a" * 32, "unsupported digest algorithm"),
        ("a/" * 140 + "b", "repository name must not be more than 255 characters"),
    ],
)
def test_what_is_no_reference_is_refused_with_the_reason(text, reason):
    with pytest.raises(imageref.ReferenceInvalid) as invalid:
        imageref.parse(text)
    assert str(invalid.value).endswith(reason)


@hypothesis.given(strategies.text(alphabet="aB0./:@-_[]", max_size=40))
def test_what_a_reference_is_written_as_is_read_as_the_same(text):
    try:
        found = imageref.parse(text)
    except imageref.ReferenceInvalid:
        return
    again = imageref.parse(found.reference)
    assert (again.registry, again.path, again.digest) == (found.registry, found.path, found.digest)
