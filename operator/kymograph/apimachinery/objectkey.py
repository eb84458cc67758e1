"""The key of an object among those of its kind, as a text: `namespace/name`, or `name` where it has no namespace.

The form of client-go's `cache.ObjectName`, and how reports, UpdateRequests and PolicyExceptions name a policy.
"""


def of(namespace: str, name: str) -> str:
    """The key of an object; `namespace` is empty where it has none."""
    return f"{namespace}/{name}" if namespace else name
