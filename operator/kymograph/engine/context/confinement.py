"""Which paths of the API server a policy may call: a namespaced policy those of its own namespace.

Only two shapes are known to be of one namespace, so only these are let through, and only after everything that makes
a path mean something else than it seems to (percent encoding, dots, doubled slashes) has been taken out of it. The
path that is asked for is the one that was judged, written anew, never the one in the policy.
"""

import re
from urllib import parse

from kymograph.engine import errors

_NAMESPACED = re.compile(r"/(?:api/v1|apis/[^/]+/[^/]+)/namespaces/([^/]+)(?:/.*)?")
_UNCLEAR = re.compile(r"[%\\\x00-\x20\x7f]")
_SAFE = "/:@!$&'()*+,;=~"


def within(raw: str, namespace: str) -> str:
    """The path to ask the API server for.

    Args:
        raw: A path with an optional query, its variables replaced.
        namespace: Namespace of the policy; empty for a policy of the cluster, which may call any path.

    Returns:
        The path, absolute, without `.`, `..` and `//`, with its query.

    Raises:
        EvaluationError: The path is not one of the policy's own namespace; in Kyverno's words.
    """
    path, mark, query = raw.partition("?")
    clean = _cleaned(parse.unquote(path) if namespace else path)
    if not namespace:
        return f"{clean}{mark}{query}"
    match = _NAMESPACED.fullmatch(clean)
    if match is None or _UNCLEAR.search(clean) is not None:
        raise errors.EvaluationError(
            f"path {clean} does not contain a namespace segment, which is required for namespaced policies"
        )
    if match[1] != namespace:
        raise errors.EvaluationError(
            f"path {clean} refers to namespace {match[1]}, which is different from the policy namespace {namespace}"
        )
    return f"{parse.quote(clean, safe=_SAFE)}{mark}{query}"


def _cleaned(path: str) -> str:
    """The path as a server that resolves dots would read it."""
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del kept[-1:]
        elif part not in ("", "."):
            kept.append(part)
    return f"/{'/'.join(kept)}"
