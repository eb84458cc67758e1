"""Groups, versions and kinds, and the little grammar in which policies select them.

Knows no discovery: whether a kind exists in a cluster, and which resource serves it, is for the callers to find out.
"""

import dataclasses
import re
from collections.abc import Callable

from kymograph.apimachinery import wildcard

_VERSION = re.compile(r"(v\d+((alpha|beta)\d+)?|\*)")


@dataclasses.dataclass(frozen=True, slots=True)
class KindSelector:
    """Which kinds a policy means; each part may hold the wildcards `*` and `?`.

    Attributes:
        group: API group; empty for the core group, `*` for any.
        version: API version; `*` for any.
        kind: The kind, `Pod`.
        subresource: The subresource, `status`; empty for the object itself.
    """

    group: str
    version: str
    kind: str
    subresource: str

    def matcher(self) -> Callable[[str, str, str, str], bool]:
        """Compile to a test of (group, version, kind, subresource)."""
        group = wildcard.compile(self.group)
        version = wildcard.compile(self.version)
        kind = wildcard.compile(self.kind)
        subresource = wildcard.compile(self.subresource)

        def matches(a_group: str, a_version: str, a_kind: str, a_subresource: str) -> bool:
            return kind(a_kind) and subresource(a_subresource) and group(a_group) and version(a_version)

        return matches


def parse_kind_selector(text: str) -> KindSelector:
    """Parse a kind as policies write it.

    The forms are `Kind`, `Kind/sub`, `Kind.sub`, `version/Kind`, `version/Kind/sub`, `group/version/Kind`,
    `group/version/Kind/sub`, `*`, `*/*` (everything with all subresources) and `*/sub` in lower case. What is left
    out of group and version is `*`; what is left out of the subresource is the object itself (Kyverno's grammar).

    Raises:
        ValueError: The text is empty or has more than four parts.
    """
    *front, last = text.split("/")
    parts = [*front, *last.split(".")]
    match parts:
        case [kind] if kind:
            return KindSelector("*", "*", kind, "")
        case ["*", "*"]:
            return KindSelector("*", "*", "*", "*")
        case ["*", subresource] if subresource == subresource.lower():
            return KindSelector("*", "*", "*", subresource)
        case [version, kind] if _VERSION.fullmatch(version):
            return KindSelector("*", version, kind, "")
        case [kind, subresource]:
            return KindSelector("*", "*", kind, subresource)
        case [version, kind, subresource] if _VERSION.fullmatch(version):
            return KindSelector("*", version, kind, subresource)
        case [group, version, kind]:
            return KindSelector(group, version, kind, "")
        case [group, version, kind, subresource]:
            return KindSelector(group, version, kind, subresource)
        case _:
            raise ValueError(f"{text!r} is no kind: write Kind, version/Kind or group/version/Kind, and /subresource")


def split_api_version(api_version: str) -> tuple[str, str]:
    """Split the `apiVersion` of an object into (group, version): `apps/v1` to `apps`, `v1`; `v1` to an empty group."""
    group, _, version = api_version.rpartition("/")
    return group, version
