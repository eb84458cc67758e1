"""References of container images: `ghcr.io/org/app:v1@sha256:...`, by the grammar of the distribution project.

A reference without a registry gets the default one, and one with neither tag nor digest the tag `latest`, as container
runtimes and Kyverno's `images` variables have it. Nothing is resolved: whether the image exists is not asked.
"""

import functools
import re
from typing import NamedTuple

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"
LONGEST_NAME = 255
"""Characters that registry and path may have together."""

_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = rf"{_COMPONENT}(?:/{_COMPONENT})*"
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_REFERENCE = (  # a text: `re` compiles and keeps it when the first reference is read
    rf"(?:(?P<registry>{_DOMAIN})/)?(?P<path>{_PATH})(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?"
)
_HEX_DIGITS = {"sha256": 64, "sha384": 96, "sha512": 128}
_LOWER_HEX = r"[0-9a-f]+"
_LONGEST = 4096
_REMEMBERED = 1024


class ReferenceInvalid(ValueError):
    """A text is no reference of an image."""


class Image(NamedTuple):
    """A parsed reference.

    Attributes:
        registry: `docker.io`, `localhost:5000`.
        path: What the image is called in its registry, `library/busybox`.
        name: The last part of the path, `busybox`.
        tag: The tag; empty for a reference with a digest and no tag.
        digest: `sha256:...`; empty for none.
    """

    registry: str
    path: str
    name: str
    tag: str
    digest: str

    def __str__(self) -> str:
        return self.reference

    @property
    def reference(self) -> str:
        """The image by its digest if it has one, else by its tag."""
        return f"{self.registry}/{self.path}@{self.digest}" if self.digest else self.reference_with_tag

    @property
    def reference_with_tag(self) -> str:
        """The image by its tag, which may be empty."""
        return f"{self.registry}/{self.path}:{self.tag}"


@functools.lru_cache(maxsize=_REMEMBERED)
def parse(text: str) -> Image:
    """Parse a reference.

    Raises:
        ReferenceInvalid: It does not follow the grammar, in the words of the distribution project.
    """
    full = _with_registry(text)
    match = re.fullmatch(_REFERENCE, full) if len(full) <= _LONGEST else None
    if match is None:
        raise ReferenceInvalid(_refusal(full, _why(text, full)))
    registry, path, tag, digest = match["registry"] or "", match["path"], match["tag"] or "", match["digest"] or ""
    if len(registry) + 1 + len(path) > LONGEST_NAME:
        raise ReferenceInvalid(_refusal(full, f"repository name must not be more than {LONGEST_NAME} characters"))
    if digest:
        _check(digest, full)
    elif not tag:
        tag = DEFAULT_TAG
    return Image(registry, path, path.rpartition("/")[2], tag, digest)


def _with_registry(text: str) -> str:
    """A first part is a registry if it looks like a host: with a dot, a port or capital letters, or `localhost`."""
    first, slash, _ = text.partition("/")
    is_host = "." in first or ":" in first or first == "localhost" or first.lower() != first
    return text if slash and is_host else f"{DEFAULT_REGISTRY}/{text}"


def _check(digest: str, full: str) -> None:
    algorithm, _, digits = digest.partition(":")
    if algorithm not in _HEX_DIGITS:
        raise ReferenceInvalid(_refusal(full, "unsupported digest algorithm"))
    if len(digits) != _HEX_DIGITS[algorithm]:
        raise ReferenceInvalid(_refusal(full, "invalid checksum digest length"))
    if re.fullmatch(_LOWER_HEX, digits) is None:
        raise ReferenceInvalid(_refusal(full, "invalid checksum digest format"))


def _why(text: str, full: str) -> str:
    if text and len(full) <= _LONGEST and re.fullmatch(_REFERENCE, full.lower()) is not None:
        return "repository name must be lowercase"
    return "invalid reference format"


def _refusal(full: str, reason: str) -> str:
    return f"bad image: {full}, defaultRegistry: {DEFAULT_REGISTRY}, enableDefaultRegistryMutation: true: {reason}"
