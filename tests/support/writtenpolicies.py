"""Policies as users write them, short: what a test is not about has its usual value."""

PODS = {"any": [{"resources": {"kinds": ["Pod"]}}]}
NAMESPACES = {"any": [{"resources": {"kinds": ["Namespace"]}}]}
DENY = {"validate": {"message": "no", "deny": {}}}


def policy(*rules, kind="ClusterPolicy", annotations=None, **spec):
    metadata = {"name": "p", "annotations": annotations or {}}
    if kind == "Policy":
        metadata["namespace"] = "shop"
    named = [{"name": f"r{index}" if index else "r", "match": PODS, **rule} for index, rule in enumerate(rules)]
    return {"apiVersion": "kyverno.io/v1", "kind": kind, "metadata": metadata, "spec": {"rules": named, **spec}}


def validating(**fields):
    return {"validate": {"message": "no", **fields}}


def generating(**fields):
    named = {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "namespace": "{{request.object.metadata.name}}"}
    return {"match": NAMESPACES, "generate": {**named, "data": {"data": {"a": "b"}}, **fields}}


def mutating(**fields):
    return {"mutate": fields}


def verifying(**fields):
    attestors = [{"entries": [{"keys": {"publicKeys": "k"}}]}]
    return {"verifyImages": [{"imageReferences": ["a/*"], "mutateDigest": False, "attestors": attestors, **fields}]}


def context(**entry):
    return {**DENY, "context": [{"name": "given", **entry}]}
