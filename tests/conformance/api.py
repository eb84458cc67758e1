"""The API server as cases see it: objects by apiVersion, kind and name, whatever their kind.

Kinds are resolved by discovery, which is asked again when a kind is missing: cases install CRDs.
"""

from typing import Any

from kymograph.localcluster import errors, rest

Object = dict[str, Any]


class KindUnknown(Exception):
    """The API server serves no such kind."""


class Objects:
    """Reads and writes objects.

    Args:
        client: Requests as the administrator.
    """

    def __init__(self, client: rest.Client) -> None:
        self._client = client
        self._kinds: dict[tuple[str, str], tuple[str, bool]] = {}

    def namespaced(self, api_version: str, kind: str) -> bool:
        """Whether objects of a kind live in namespaces.

        Raises:
            KindUnknown: There is no such kind.
        """
        return self._kind(api_version, kind)[1]

    def get(self, api_version: str, kind: str, namespace: str | None, name: str) -> Object | None:
        """An object; None where there is none."""
        try:
            found: Object = self._client.request("GET", self._path(api_version, kind, namespace, name))
        except errors.RequestRefused as refused:
            if refused.status == 404:
                return None
            raise
        return found

    def list(self, api_version: str, kind: str, namespace: str | None, labels: dict[str, str]) -> list[Object]:
        """The objects of a kind, in one namespace or everywhere, that have some labels."""
        selector = ",".join(f"{key}%3D{value}" for key, value in labels.items())
        path = self._path(api_version, kind, namespace)
        try:
            listed = self._client.request("GET", f"{path}?labelSelector={selector}" if selector else path)
        except errors.RequestRefused as refused:
            if refused.status == 404:
                return []
            raise
        return [{"apiVersion": api_version, "kind": kind, **each} for each in listed["items"]]

    def create(self, document: Object) -> Object:
        """Create an object; returns it as it was stored."""
        metadata = document.get("metadata", {})
        path = self._path(document["apiVersion"], document["kind"], metadata.get("namespace"))
        created: Object = self._client.request("POST", path, document)
        return created

    def replace(self, document: Object) -> Object:
        """Update an object as a whole; returns it as it was stored."""
        replaced: Object = self._client.request("PUT", self._of(document), document)
        return replaced

    def merge(self, document: Object) -> Object:
        """Merge a document into the object of its name (RFC 7396); returns that as it was stored."""
        merged: Object = self._client.request("PATCH", self._of(document), document)
        return merged

    def delete(self, api_version: str, kind: str, namespace: str | None, name: str, policy: str) -> None:
        """Ask for an object's deletion; nothing happens where there is none."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy}
        try:
            self._client.request("DELETE", self._path(api_version, kind, namespace, name), body)
        except errors.RequestRefused as refused:
            if refused.status != 404:
                raise

    def _of(self, document: Object) -> str:
        metadata = document["metadata"]
        return self._path(document["apiVersion"], document["kind"], metadata.get("namespace"), metadata["name"])

    def _path(self, api_version: str, kind: str, namespace: str | None, name: str = "") -> str:
        plural, namespaced = self._kind(api_version, kind)
        inside = f"namespaces/{namespace}/" if namespaced and namespace else ""
        return f"{_root(api_version)}/{inside}{plural}" + (f"/{name}" if name else "")

    def _kind(self, api_version: str, kind: str) -> tuple[str, bool]:
        if (api_version, kind) not in self._kinds:
            try:
                served = self._client.request("GET", _root(api_version))["resources"]
            except errors.RequestRefused as refused:
                raise KindUnknown(f"{api_version}/{kind}: {refused}") from refused
            for each in served:
                if "/" not in each["name"]:
                    self._kinds[api_version, each["kind"]] = (each["name"], each["namespaced"])
        try:
            return self._kinds[api_version, kind]
        except KeyError:
            raise KindUnknown(f"{api_version} has no kind {kind}") from None


def _root(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
