"""What the documents of a registry say: which manifest of an index is meant, and where an image's configuration is.

An index is resolved for `linux/amd64`, whatever the cluster's nodes are: so does Kyverno, and policies see the same.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from kymograph.clients.registry import errors

MEDIA_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)

_INDEXES = frozenset(MEDIA_TYPES[:2])
_OPERATING_SYSTEM, _ARCHITECTURE = "linux", "amd64"


def digest_of(content: bytes) -> str:
    """The digest of a document."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def verify(content: bytes, digest: str) -> bytes:
    """The content, where it is what a digest says.

    Raises:
        ImageInvalid: It is something else, or the digest is of a kind that is not supported.
    """
    if not digest.startswith("sha256:"):
        raise errors.ImageInvalid(f"unsupported digest algorithm: {digest[:100]}")
    found = digest_of(content)
    if found != digest:
        raise errors.ImageInvalid(f"digest mismatch, expected: {digest}, received: {found}")
    return content


def decode(content: bytes, what: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ImageInvalid: It is none.
    """
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise errors.ImageInvalid(f"the {what} is no JSON object")
    return document


def is_index(document: Mapping[str, Any], content_type: str) -> bool:
    """Whether a document is an index of manifests: it says so, or whoever gave it, or it looks like one."""
    declared = document.get("mediaType") or content_type.partition(";")[0].strip()
    return declared in _INDEXES or ("manifests" in document and "config" not in document)


def chosen(index: Mapping[str, Any]) -> str:
    """The digest of the manifest that an index holds for the platform; an entry without one is for that platform.

    Raises:
        ImageInvalid: There is none.
    """
    for entry in index.get("manifests") or ():
        if not isinstance(entry, dict):
            continue
        platform = entry.get("platform") or {"os": _OPERATING_SYSTEM, "architecture": _ARCHITECTURE}
        if platform.get("os") == _OPERATING_SYSTEM and platform.get("architecture") == _ARCHITECTURE:
            return str(entry.get("digest"))
    raise errors.ImageInvalid(f"no child with platform {_OPERATING_SYSTEM}/{_ARCHITECTURE} in the index")


def configuration(manifest: Mapping[str, Any]) -> str:
    """The digest of an image's configuration.

    Raises:
        ImageInvalid: The manifest names none; those of schema 1 do not.
    """
    described = manifest.get("config")
    if not isinstance(described, dict) or not isinstance(described.get("digest"), str):
        raise errors.ImageInvalid("the manifest names no configuration")
    return str(described["digest"])
