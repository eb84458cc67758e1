"""Who we are in exported telemetry, changeable while the process runs.

The SDK fixes a provider's resource when the provider is made, and ours are made once. So they are given one `Resource`
whose content can be replaced: spans and metrics refer to it, and whoever encodes them reads what it holds then. A span
that ended before a change and leaves after it carries the new attributes.
"""

import types
import urllib.parse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from opentelemetry.sdk import resources, version
from opentelemetry.sdk.environment_variables import OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME

from kymograph.telemetry import semconv

if TYPE_CHECKING:
    from opentelemetry.util.types import AnyValue

DEFAULT_SERVICE_NAME = "kymograph"


class LiveResource(resources.Resource):
    """A resource whose attributes can be replaced.

    Equality and hash are by identity: there is one per process, and the SDK's encoder puts every span's resource into
    a dict, for which the SDK's own hash writes all attributes as JSON.
    """

    def __init__(self, attributes: "Mapping[str, AnyValue]") -> None:
        super().__init__({})
        self.replace(attributes)

    @property
    def attributes(self) -> "Mapping[str, AnyValue]":
        """The attributes now."""
        return self._current

    def replace(self, attributes: "Mapping[str, AnyValue]") -> None:
        """Change all attributes at once."""
        self._current = types.MappingProxyType(dict(attributes))

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


def attributes_of(
    facts: Mapping[str, str],
    environ: Mapping[str, str],
    configured: Mapping[str, str],
) -> dict[str, str]:
    """Put a resource's attributes together.

    Args:
        facts: What the process found out about itself: `service.version`, `k8s.pod.name`, ...
        environ: Environment variables; `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` are read.
        configured: The TracingConfiguration's `resourceAttributes`.

    Returns:
        What is configured stands above the environment, that above the facts, and those above the SDK's and our own
        defaults; so the standard variables work, which Kyverno's metrics ignore. What has no name is left out.
    """
    attributes = {
        resources.TELEMETRY_SDK_LANGUAGE: "python",
        resources.TELEMETRY_SDK_NAME: "opentelemetry",
        resources.TELEMETRY_SDK_VERSION: version.__version__,
        semconv.SERVICE_NAME: DEFAULT_SERVICE_NAME,
        **facts,
        **_from_environment(environ.get(OTEL_RESOURCE_ATTRIBUTES, "")),
    }
    if name := environ.get(OTEL_SERVICE_NAME):
        attributes[semconv.SERVICE_NAME] = name
    return {key: value for key, value in {**attributes, **configured}.items() if key}


def _from_environment(listed: str) -> dict[str, str]:
    """Read `key=value,key=value`, percent-encoded; members without `=` are skipped, as the SDK does."""
    pairs = (member.partition("=") for member in listed.split(",") if "=" in member)
    return {key.strip(): urllib.parse.unquote(value.strip()) for key, _, value in pairs}
