"""The Secrets that exporters use: which may be used, what they hold, and when they have changed.

Whoever may edit the TracingConfiguration may name any Secret and any endpoint. So a Secret is used only if it lies in
the operator's own namespace and whoever may write it has labelled it for this; the operator's own certificate and the
tokens of service accounts are never used. Secrets are read by name: watching them would need the right to list every
Secret of the namespace, to gain a second or two. Between two reads only their metadata is asked for.
"""

import base64
import binascii
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import errors, resources
from kymograph.model import otlpexporter
from kymograph.runtime import secretstore
from kymograph.telemetry import current
from kymograph.telemetry import errors as telemetry_errors

logger = logging.getLogger(__name__)

_TOKEN_TYPES = frozenset({"kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"})


class Read(Mapping[str, Mapping[str, bytes]]):
    """The data of Secrets by name; a lookup of one that cannot be used raises why.

    Args:
        read: The data of each, or what is wrong with it.
    """

    def __init__(self, read: Mapping[str, Mapping[str, bytes] | Exception]) -> None:
        self._read = read

    def __getitem__(self, name: str) -> Mapping[str, bytes]:
        found = self._read[name]
        if isinstance(found, Exception):
            raise found
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._read)

    def __len__(self) -> int:
        return len(self._read)


class TelemetrySecrets:
    """Reads the Secrets of exporters.

    Args:
        client: Reads with the operator's identity.
        namespace: The operator's own namespace.
    """

    def __init__(self, client: clients.KubernetesClient, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self._seen: dict[str, str] = {}

    async def read(self, names: Iterable[str], *, partly: bool = False) -> "Read":
        """Read the data of Secrets.

        Args:
            names: Their names; they are the ones that `changed` looks at from now on.
            partly: What is wrong with one of them is raised when that one is looked up, and not here.

        Raises:
            SecretNotAllowed: One of them may not be used.
            SecretMissing: One of them does not exist.
            KubernetesError: One of them cannot be read for now, or for want of the right to.
        """
        self._seen = {}
        read: dict[str, Mapping[str, bytes] | Exception] = {}
        for name in sorted(names):
            try:
                read[name] = await self._read(name)
            except (telemetry_errors.SettingsInvalid, errors.KubernetesError) as error:
                if not partly:
                    raise
                read[name] = error
        return Read(read)

    async def _read(self, name: str) -> dict[str, bytes]:
        if name == secretstore.NAME:
            raise telemetry_errors.SecretNotAllowed(f"Secret {name!r}", "it is the operator's own")
        self._seen[name] = "unread"
        try:
            document = await self._client.get(resources.SECRETS, name, namespace=self._namespace)
        except errors.NotFound:
            self._seen[name] = ""
            raise telemetry_errors.SecretMissing(
                f"Secret {name!r}", f"there is none in namespace {self._namespace!r}"
            ) from None
        self._seen[name] = _version(document)
        self._judge(name, document)
        return _data(name, document)

    async def changed(self) -> bool:
        """Whether a Secret that was read last is another one now; False while that cannot be found out."""
        for name, seen in self._seen.items():
            try:
                with current.untraced():
                    document = await self._client.get(
                        resources.SECRETS, name, namespace=self._namespace, metadata_only=True
                    )
            except errors.NotFound:
                version = ""
            except errors.KubernetesError as error:
                logger.debug("Secret %s cannot be looked at: %s", name, error)
                continue
            else:
                version = _version(document)
            if version != seen:
                return True
        return False

    def _judge(self, name: str, document: Mapping[str, Any]) -> None:
        labels = document["metadata"].get("labels") or {}
        if labels.get(otlpexporter.SECRET_LABEL) != "true":
            raise telemetry_errors.SecretNotAllowed(
                f"Secret {name!r}", f"it must carry the label {otlpexporter.SECRET_LABEL}=true to be used by exporters"
            )
        if document.get("type") in _TOKEN_TYPES:
            raise telemetry_errors.SecretNotAllowed(f"Secret {name!r}", "tokens of Kubernetes stay in the cluster")


def _version(document: Mapping[str, Any]) -> str:
    return str(document["metadata"].get("resourceVersion"))


def _data(name: str, document: Mapping[str, Any]) -> dict[str, bytes]:
    try:
        return {key: base64.b64decode(value, validate=True) for key, value in (document.get("data") or {}).items()}
    except binascii.Error:
        raise telemetry_errors.SecretMissing(f"Secret {name!r}", "its data is not base64") from None
