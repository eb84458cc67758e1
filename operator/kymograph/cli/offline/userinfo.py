"""UserInfo: who makes the requests of a test (`cli.kyverno.io/v1alpha1`, a file of its own)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kymograph.engine import fields

KNOWN = ("roles", "clusterRoles", "userInfo", "synchronize")
"""The fields of a UserInfo document beside `apiVersion`, `kind` and `metadata`."""


class UserInfo(NamedTuple):
    """Who asks.

    Attributes:
        account: `username`, `uid`, `groups` and `extra`, as in an AdmissionRequest.
        roles: Roles bound to the user, as `namespace:name`.
        cluster_roles: ClusterRoles bound to the user.
    """

    account: Mapping[str, Any]
    roles: Sequence[str] = ()
    cluster_roles: Sequence[str] = ()

    def request(self) -> dict[str, Any]:
        """What an AdmissionRequest says of the user; lists without entries are left out, as in Kyverno."""
        told: dict[str, Any] = {"userInfo": {"username": "", **self.account}}
        if self.roles:
            told["roles"] = list(self.roles)
        if self.cluster_roles:
            told["clusterRoles"] = list(self.cluster_roles)
        return told


def read(document: fields.Fields) -> UserInfo:
    """Read the fields of UserInfo. What is wrong is noted in the problems of `document`.

    Args:
        document: The document; its known fields must include `KNOWN`.
    """
    account = fields.Fields(
        document.raw("userInfo"), document.at("userInfo"), document.problems, ("username", "uid", "groups", "extra")
    )
    told: dict[str, Any] = {"username": account.text("username")}
    if account.text("uid"):
        told["uid"] = account.text("uid")
    groups = account.texts("groups")
    if groups:
        told["groups"] = list(groups)
    extra = account.raw("extra")
    if isinstance(extra, Mapping):
        told["extra"] = dict(extra)
    document.boolean("synchronize", default=False)
    return UserInfo(told, document.texts("roles"), document.texts("clusterRoles"))
