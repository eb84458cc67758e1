"""What a GlobalContextEntry asks to be kept: read once when it changes, with every mistake named by its field.

The API server has checked the shape by the CRD's schema; what is found here is what only reading it can find, such as
a projection that is no JMESPath. The words are Kyverno's where it has any.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import orjson

from kymograph.apimachinery import duration
from kymograph.engine import fields, jmespath, needs

DEFAULT_REFRESH = 600.0
"""Seconds between two calls of an entry that does not say."""

SHORTEST_REFRESH = 1.0
"""Seconds; an entry that asks to be called more often is called so often."""

DEFAULT_RETRIES = 3
MOST_RETRIES = 20


@dataclasses.dataclass(frozen=True, slots=True)
class Collection:
    """Objects of the cluster, as `kubernetesResource` names them.

    Attributes:
        group: Empty for the core group.
        version: The version.
        resource: The plural.
        namespace: Empty for all namespaces, and for what is in none.
    """

    group: str
    version: str
    resource: str
    namespace: str

    def __str__(self) -> str:
        return f"{self.group or 'core'}/{self.version}/{self.resource}"


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """A call that is made again and again, as `apiCall` describes it.

    Attributes:
        need: What is asked for.
        interval: Seconds between two rounds.
        tries: Calls in a round before it counts as failed.
    """

    need: needs.APICall | needs.ServiceCall
    interval: float
    tries: int


@dataclasses.dataclass(frozen=True, slots=True)
class Definition:
    """One entry.

    Attributes:
        name: Its name.
        uid: Which incarnation of it.
        generation: Which generation of its spec.
        source: Where its data come from.
        projections: Expressions by name, applied to the data.
    """

    name: str
    uid: str
    generation: int
    source: Collection | Call
    projections: Mapping[str, jmespath.Expression]


def read(document: Mapping[str, Any]) -> Definition:
    """Read an entry.

    Raises:
        PolicyInvalid: With all that is wrong with it.
    """
    problems, metadata = fields.Problems(), document["metadata"]
    spec = fields.Fields(document.get("spec"), "spec", problems, ("kubernetesResource", "apiCall", "projections"))
    if ("kubernetesResource" in spec) == ("apiCall" in spec):
        spec.wrong("kubernetesResource", "A global context entry should either have KubernetesResource or APICall")
    source = _collection(spec) if "kubernetesResource" in spec else _call(spec)
    projections: dict[str, jmespath.Expression] = {}
    for item, path in spec.items("projections"):
        projection = fields.Fields(item, path, problems, ("name", "jmesPath"))
        name = projection.text("name")
        if not name:
            projection.wrong("name", "A projection entry requires a name")
        elif name == metadata["name"]:
            problem = "A projection entry requires a name different from the global context entry name"
            projection.wrong("name", problem)
        try:
            projections[name] = jmespath.compile(projection.text("jmesPath"))
        except jmespath.ExpressionInvalid as error:
            projection.wrong("jmesPath", str(error))
    problems.raise_if_any()
    return Definition(metadata["name"], metadata["uid"], int(metadata.get("generation") or 0), source, projections)


def _collection(spec: fields.Fields) -> Collection:
    block = fields.Fields(
        spec.raw("kubernetesResource"),
        spec.at("kubernetesResource"),
        spec.problems,
        ("group", "version", "resource", "namespace"),
    )
    for name in ("version", "resource"):
        if not block.text(name):
            block.wrong(name, f"A Resource entry requires a {name}")
    if not block.text("group") and block.text("version") != "v1":
        block.wrong("group", "A Resource entry requires a group")
    return Collection(block.text("group"), block.text("version"), block.text("resource"), block.text("namespace"))


def _call(spec: fields.Fields) -> Call:
    block = fields.Fields(
        spec.raw("apiCall"),
        spec.at("apiCall"),
        spec.problems,
        ("urlPath", "service", "method", "data", "refreshInterval", "retryLimit"),
    )
    path = block.text("urlPath")
    if bool(path) == ("service" in block):
        block.wrong("service", "An External API call should either have Service or URLPath")
    method = block.text("method", "GET", among=("GET", "POST"))
    body = b""
    if "data" in block and method != "POST":
        block.wrong("method", "An External API call with data should have method as POST")
    if method == "POST":
        pairs = (item for item, _ in block.items("data") if isinstance(item, Mapping))
        body = orjson.dumps({str(pair.get("key")): pair.get("value") for pair in pairs})
    interval = DEFAULT_REFRESH
    if "refreshInterval" in block:
        try:
            interval = duration.parse(block.text("refreshInterval")) / duration.SECOND
        except ValueError as error:
            block.wrong("refreshInterval", str(error))
        if interval <= 0:
            problem = "A Resource entry requires a refresh interval greater than 0 seconds"
            block.wrong("refreshInterval", problem)
    tries = block.integer("retryLimit", 1, MOST_RETRIES, f"must be from 1 to {MOST_RETRIES}") or DEFAULT_RETRIES
    need = needs.APICall(path, method, body) if path else _service(block, method, body)
    return Call(need, max(interval, SHORTEST_REFRESH), tries)


def _service(block: fields.Fields, method: str, body: bytes) -> needs.ServiceCall:
    service = fields.Fields(block.raw("service"), block.at("service"), block.problems, ("url", "caBundle", "headers"))
    headers = []
    for item, path in service.items("headers"):
        header = fields.Fields(item, path, block.problems, ("key", "value"))
        headers.append((header.text("key"), header.text("value")))
    return needs.ServiceCall(service.text("url"), method, tuple(headers), body, service.text("caBundle"))
