"""References to images as go-containerregistry reads them, which Kyverno asks registries with.

`nginx` is `index.docker.io/library/nginx:latest`. Policies are shown these full names. Grammar: the distribution
specification, "Pulling manifests".
"""

import dataclasses
import re

from kymograph.clients.registry import errors

DOCKER_HUB = "index.docker.io"

_DOCKER_HUB_ALIAS = "docker.io"
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_REPOSITORY = re.compile(r"[a-z0-9_-][a-z0-9._-]*(?:/[a-z0-9_-][a-z0-9._-]*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REPOSITORY_LENGTHS = range(2, 256)


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """Where an image is.

    Attributes:
        registry: Host and perhaps port.
        repository: The path of the repository in it.
        tag: The tag as it was written; empty where none was. `latest` where neither tag nor digest was.
        digest: `sha256:...`, or empty.
    """

    registry: str
    repository: str
    tag: str
    digest: str

    @property
    def name(self) -> str:
        """Registry and repository."""
        return f"{self.registry}/{self.repository}"

    @property
    def asked(self) -> str:
        """What the registry is asked for: the digest, or else the tag."""
        return self.digest or self.tag

    @property
    def identifier(self) -> str:
        """What policies see: the tag, the digest, or `tag@digest` where both were written."""
        return f"{self.tag}@{self.digest}" if self.tag and self.digest else self.asked


def parse(text: str) -> Reference:
    """Read a reference.

    Raises:
        ReferenceInvalid: It is none.
    """
    rest, at, digest = text.partition("@")
    if at and not DIGEST.fullmatch(digest):
        raise _invalid(text, "its digest is not sha256: and 64 hexadecimal digits")
    tag = ""
    before, colon, after = rest.rpartition(":")
    if colon and "/" not in after:
        rest, tag = before, after
        if not _TAG.fullmatch(tag):
            raise _invalid(text, "its tag has characters that none may have")
    first, slash, remaining = rest.partition("/")
    registry, repository = DOCKER_HUB, rest
    if slash and ("." in first or ":" in first or first == "localhost"):
        registry, repository = first, remaining
        if not _HOST.fullmatch(registry):
            raise _invalid(text, "its registry is no host")
    if registry == _DOCKER_HUB_ALIAS:
        registry = DOCKER_HUB
    if registry == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    if not _REPOSITORY.fullmatch(repository) or len(repository) not in _REPOSITORY_LENGTHS:
        raise _invalid(text, "its repository is not written as repositories are")
    if not tag and not digest:
        tag = "latest"
    return Reference(registry, repository, tag, digest)


def _invalid(text: str, reason: str) -> errors.ReferenceInvalid:
    return errors.ReferenceInvalid(f"failed to parse image reference: {text[:512]}: {reason}")
