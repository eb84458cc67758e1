"""Every certificate, key and kubeconfig of one cluster, written into its directory under fixed names.

The names are a contract with `servers`, whose flags point at them.
"""

import dataclasses
import pathlib

from kymograph.localcluster import kubeconfig, options, pki

USERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "admin": ("kubernetes-admin", ("system:masters",)),
    "kube-controller-manager": ("system:kube-controller-manager", ()),
    "kube-scheduler": ("system:kube-scheduler", ()),
    "kwok": ("kwok", ("system:masters",)),  # it plays every node, which the node authoriser would not let one user do
}
"""Who gets a client certificate and a kubeconfig: name of the file, user, groups."""

SERVICE_NETWORK = "10.96.0.0/16"
"""Where Services get their addresses from."""

_ADDRESSES = (
    "127.0.0.1",
    "localhost",
    "kubernetes.default.svc",
    "10.96.0.1",  # the first address of the service network is the API server's own Service
)


@dataclasses.dataclass(frozen=True, slots=True)
class Credentials:
    """What callers need of a cluster's credentials; the rest is in files.

    Attributes:
        ca_pem: The authority of the API server's certificate and of its users' certificates.
        webhook_client_ca_pem: The authority of the certificate that the API server shows to webhooks. Nothing else is
            signed by it, so whoever passes a check against it is this cluster's API server.
    """

    ca_pem: bytes
    webhook_client_ca_pem: bytes


def create(directory: pathlib.Path, url: str, audit_webhook: options.AuditWebhook | None) -> Credentials:
    """Makes and writes them all.

    Args:
        directory: Where to; it must be the user's own (mode 0700).
        url: The API server's URL, which the kubeconfigs name.
        audit_webhook: Where the API server sends audit events, which takes a kubeconfig too.
    """
    authority = pki.Authority("localcluster")
    pki.write(authority.pair, directory, "ca")
    pki.write(authority.server("kube-apiserver", _ADDRESSES), directory, "kube-apiserver")
    pki.write_private(directory / "service-account.key", pki.signing_key())
    for name, (user, groups) in USERS.items():
        pair = authority.client(user, groups)
        pki.write(pair, directory, name)
        kubeconfig.write(
            directory / f"{name}.kubeconfig",
            kubeconfig.for_certificate(url, authority.pair.certificate, user, pair),
        )

    webhook_authority = pki.Authority("localcluster-webhook-clients")
    caller = webhook_authority.client("kube-apiserver")
    kubeconfig.write(directory / "webhooks.kubeconfig", kubeconfig.for_webhooks(caller))
    if audit_webhook is not None:
        kubeconfig.write(
            directory / "audit-webhook.kubeconfig",
            kubeconfig.for_certificate(audit_webhook.url, audit_webhook.ca_pem, "kube-apiserver", caller),
        )
    return Credentials(authority.pair.certificate, webhook_authority.pair.certificate)
