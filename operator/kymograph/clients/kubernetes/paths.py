"""What a path of the API is about, for paths that somebody else wrote: how it is called, and what its span says.

Paths: `/api/v1/...` and `/apis/<group>/<version>/...`, then perhaps `namespaces/<name>`, then a resource, perhaps a
name and a subresource. Everything else (`/version`, `/metrics`) is no resource.
"""

import dataclasses
import urllib.parse

import yarl

from kymograph.clients.kubernetes import errors

_CORE = ("api", "v1")


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """What a path leads to.

    Attributes:
        group: The API group; empty for the core group and for what is no resource.
        plural: The resource's name, perhaps with `/subresource`; empty for what is no resource.
        namespace: Empty for what is in none.
        name: Empty for a collection.
        template: The path with `{namespace}` and `{name}` in their places; empty for what is no resource.
    """

    group: str = ""
    plural: str = ""
    namespace: str = ""
    name: str = ""
    template: str = ""


def read(text: str) -> tuple[yarl.URL, Target]:
    """Take a path with its query apart.

    Args:
        text: As a policy gives it, `/api/v1/pods?labelSelector=app=web`; characters that URLs do not have are quoted.

    Returns:
        A relative URL, ready to be joined to the API server's, and what it is about.

    Raises:
        PathInvalid: It is no absolute path, or means another one than it seems to.
    """
    if not text.startswith("/") or text.startswith("//") or any(character < " " for character in text):
        raise errors.PathInvalid(f"{text[:200]!r} is no absolute path")
    try:
        url = yarl.URL(text)
    except ValueError as error:
        raise errors.PathInvalid(f"{text[:200]!r} is no path: {error}") from error
    parts = [urllib.parse.unquote(part) for part in url.raw_path.split("/")[1:]]
    if url.absolute or url.raw_fragment or any(part in (".", "..") or "/" in part for part in parts):
        raise errors.PathInvalid(f"{text[:200]!r} is no plain path")
    return url, _target(parts)


def of(path: str) -> Target:
    """What a path without query leads to, that we or a library made."""
    return _target([urllib.parse.unquote(part) for part in path.split("/")[1:]])


def _target(parts: list[str]) -> Target:
    if tuple(parts[:2]) == _CORE:
        group, rest = "", parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, rest = parts[1], parts[3:]
    else:
        return Target()
    written = ["", *parts[: len(parts) - len(rest)]]
    namespace = ""
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
        written += ["namespaces", "{namespace}"]
    plural, name, *below = [*rest, "", ""][: max(len(rest), 2)]
    if not plural:
        return Target(group, "", namespace, name)
    written += [plural, "{name}", *below] if name else [plural]
    return Target(group, "/".join([plural, *below]), namespace, name, "/".join(written))
