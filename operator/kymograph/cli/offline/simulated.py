"""A cluster of a few objects from files, as far as policies read it: ConfigMaps, namespaces, GET on its API.

It stands in for the API server where a test gives `clusterResources`. It checks nothing, keeps no versions and takes
no writes.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib import parse

from kymograph.apimachinery import gvk, labels
from kymograph.cli.offline import resources


class NotThere(Exception):
    """The cluster does not hold what was asked for; the message says what."""


class NothingSaid(NotThere):
    """Nothing is known of what was asked for: context entries that ask for it are left out."""


class Cluster:
    """The objects.

    Args:
        objects: Objects, prepared; the last one with a key counts. CustomResourceDefinitions among them say how the
            resources of their kinds are named.
    """

    def __init__(self, objects: Iterable[Mapping[str, Any]]) -> None:
        self._objects = {resources.key_of(each): each for each in objects}
        self._plurals: dict[tuple[str, str], str] = {}
        for each in self._objects.values():
            match each:
                case {"kind": "CustomResourceDefinition", "spec": {"group": str(group), "names": dict(names)}}:
                    self._plurals[group, str(names.get("kind"))] = str(names.get("plural"))

    def config_map(self, namespace: str, name: str) -> dict[str, Any]:
        """A ConfigMap as context entries see it: its `metadata` and `data`.

        Raises:
            NotThere: There is no such ConfigMap.
        """
        found = self._objects.get(resources.Key("v1", "ConfigMap", namespace, name))
        if found is None:
            raise NotThere(f'configmaps "{name}" not found')
        return {"metadata": found.get("metadata") or {}, "data": found.get("data") or {}}

    def object(self, api_version: str, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        """One object, or None if it is not there."""
        return self._objects.get(resources.Key(api_version, kind, namespace, name))

    def objects(self, api_version: str, kind: str, namespace: str, selector: str) -> list[Mapping[str, Any]]:
        """The objects of a kind, by name.

        Args:
            api_version: `v1`, `apps/v1`; empty for any.
            kind: Their kind.
            namespace: Their namespace; empty for cluster-scoped objects.
            selector: A LabelSelector as JSON; empty for all.
        """
        selected = labels.matcher(json.loads(selector)) if selector else None
        found = [
            (key, each)
            for key, each in self._objects.items()
            if (key.kind, key.namespace) == (kind, namespace)
            and api_version in ("", key.api_version)
            and (selected is None or selected((each.get("metadata") or {}).get("labels") or {}))
        ]
        return [each for _, each in sorted(found, key=lambda entry: entry[0].name)]

    def listed(self, group: str, version: str, resource: str, namespace: str) -> list[Mapping[str, Any]]:
        """The objects of a resource, in the order in which they were given.

        Args:
            group: Empty for the core group.
            version: Their version.
            resource: The plural.
            namespace: Their namespace; empty for all.
        """
        of_kind = self._of(group, version, resource)
        return [found for key, found in of_kind if not namespace or key.namespace == namespace]

    def namespace_labels(self, name: str) -> Mapping[str, str]:
        """The labels of a namespace; empty if it is not there."""
        found = self._objects.get(resources.Key("v1", "Namespace", "", name)) or {}
        told: Mapping[str, str] = (found.get("metadata") or {}).get("labels") or {}
        return told

    def get(self, path: str) -> Any:
        """What the API server answers to a GET: an object, or a list of them.

        Args:
            path: `/api/v1/namespaces/default/configmaps/settings`, `/apis/apps/v1/deployments`.

        Raises:
            NotThere: The path names no object that is there, or is no path of an API.
        """
        parts = [parse.unquote(part) for part in parse.urlsplit(path).path.strip("/").split("/")]
        match parts:
            case ["api", version, *rest]:
                group = ""
            case ["apis", group, version, *rest]:
                pass
            case _:
                raise NotThere(f"failed to parse path: {path}")
        namespace = ""
        if rest[0:1] == ["namespaces"] and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        match rest:
            case [resource]:
                return self._list(group, version, resource, namespace)
            case [resource, name]:
                for key, found in self._of(group, version, resource):
                    if key.name == name and key.namespace == namespace:
                        return found
                raise NotThere(f'{resource} "{name}" not found')
            case _:
                raise NotThere(f"failed to parse path: {path}")

    def _list(self, group: str, version: str, resource: str, namespace: str) -> dict[str, Any]:
        of_kind = self._of(group, version, resource)
        items = self.listed(group, version, resource, namespace)
        kind = f"{of_kind[0][0].kind}List" if of_kind else "List"
        api_version = f"{group}/{version}" if group else version
        return {"apiVersion": api_version, "kind": kind, "metadata": {"resourceVersion": ""}, "items": items}

    def _of(self, group: str, version: str, resource: str) -> list[tuple[resources.Key, Mapping[str, Any]]]:
        return [
            (key, found)
            for key, found in self._objects.items()
            if gvk.split_api_version(key.api_version) == (group, version)
            and self._plurals.get((group, key.kind), _plural(key.kind)) == resource
        ]


def _plural(kind: str) -> str:
    """The resource of a kind, as Kubernetes' tools guess it where nobody tells them."""
    name = kind.lower()
    if name.endswith("endpoints"):
        return name
    if name.endswith("s"):
        return f"{name}es"
    if name.endswith("y"):
        return f"{name[:-1]}ies"
    return f"{name}s"
