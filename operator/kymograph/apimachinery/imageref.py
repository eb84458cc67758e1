"""References of container images: `ghcr.io/org/app:v1@sha256:...`, by the grammar of the distribution project.

A reference without a registry gets the one that an installation says (`docker.io`), and one with neither tag nor digest
the tag `latest`, as container runtimes and Kyverno's `images` variables have it. Nothing is resolved: whether the image
exists is not asked.
"""

import functools
import re
from typing import NamedTuple

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


class Naming(NamedTuple):
    """What an installation says of references that name no registry.

    Attributes:
        registry: Whose they are, with a path where its images are below one: `docker.io`, `mirror.example/hub`.
        shown: Whether the image is said to be of that registry. If not, its reference stays without one.
    """

    registry: str = "docker.io"
    shown: bool = True


STANDARD = Naming()
"""What counts where nothing is said."""


class Image(NamedTuple):
    """A parsed reference.

    Attributes:
        registry: `docker.io`, `localhost:5000`; empty where none is named and the default is not shown.
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
        return f"{self._where}@{self.digest}" if self.digest else self.reference_with_tag

    @property
    def reference_with_tag(self) -> str:
        """The image by its tag, which may be empty."""
        return f"{self._where}:{self.tag}"

    @property
    def _where(self) -> str:
        return f"{self.registry}/{self.path}" if self.registry else self.path


@functools.lru_cache(maxsize=_REMEMBERED)
def parse(text: str, naming: Naming = STANDARD) -> Image:
    """Parse a reference.

    Args:
        text: The reference.
        naming: What counts where it names no registry.

    Raises:
        ReferenceInvalid: It does not follow the grammar, in the words of the distribution project.
    """
    named = names_registry(text)
    full = text if named else f"{naming.registry}/{text}"
    match = re.fullmatch(_REFERENCE, full) if len(full) <= _LONGEST else None
    if match is None:
        raise ReferenceInvalid(_refusal(full, naming, _why(text, full)))
    registry, path, tag, digest = match["registry"] or "", match["path"], match["tag"] or "", match["digest"] or ""
    if len(registry) + 1 + len(path) > LONGEST_NAME:
        reason = f"repository name must not be more than {LONGEST_NAME} characters"
        raise ReferenceInvalid(_refusal(full, naming, reason))
    if digest:
        reason = _wrong_digest(digest)
        if reason:
            raise ReferenceInvalid(_refusal(full, naming, reason))
    elif not tag:
        tag = DEFAULT_TAG
    name = path.rpartition("/")[2]
    if not named and not naming.shown:
        first, slash, rest = path.partition("/")  # as Kyverno has it: no host has an underscore
        registry, path = (first, rest) if slash and "_" in first else ("", path)
    return Image(registry, path, name, tag, digest)


def names_registry(text: str) -> bool:
    """Whether the first part is a registry: it looks like a host, with a dot, a port or capitals, or is `localhost`."""
    first, slash, _ = text.partition("/")
    return bool(slash) and ("." in first or ":" in first or first == "localhost" or first.lower() != first)


def _wrong_digest(digest: str) -> str:
    """What is wrong with a digest; empty for nothing."""
    algorithm, _, digits = digest.partition(":")
    if algorithm not in _HEX_DIGITS:
        return "unsupported digest algorithm"
    if len(digits) != _HEX_DIGITS[algorithm]:
        return "invalid checksum digest length"
    return "" if re.fullmatch(_LOWER_HEX, digits) else "invalid checksum digest format"


def _why(text: str, full: str) -> str:
    if text and len(full) <= _LONGEST and re.fullmatch(_REFERENCE, full.lower()) is not None:
        return "repository name must be lowercase"
    return "invalid reference format"


def _refusal(full: str, naming: Naming, reason: str) -> str:
    shown = "true" if naming.shown else "false"
    return f"bad image: {full}, defaultRegistry: {naming.registry}, enableDefaultRegistryMutation: {shown}: {reason}"
