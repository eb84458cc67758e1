"""What is wrong with rules that generate or verify images, and with overrides: reasons with their paths."""

import copy

import pytest

from kymograph.engine import compile as compiler
from kymograph.engine import errors
from support.writtenpolicies import DENY, NAMESPACES, PODS, generating, policy, validating, verifying


def found(document):
    with pytest.raises(errors.PolicyInvalid) as raised:
        compiler.compile_policy(document)
    return [str(problem) for problem in raised.value.problems]


def attested(**entry):
    return verifying(attestors=[{"entries": [entry]}])


ENTRY = "spec.rules[0].verifyImages[0].attestors[0].entries[0]"

WRONG = {
    "generation": [
        (
            policy(generating(clone={"name": "a", "namespace": "b"})),
            (
                "spec.rules[0].generate: "
                "only one of generate patterns(data, clone, cloneList and foreach) can be specified"
            ),
        ),
        (
            policy(generating(namespace="")),
            "spec.rules[0].generate.namespace: target namespace must be set for a namespaced resource",
        ),
        (
            policy(generating(apiVersion="rbac.authorization.k8s.io/v1", kind="ClusterRole")),
            "spec.rules[0].generate.namespace: target namespace must not be set for a cluster-wide resource",
        ),
        (policy(generating(kind="")), "spec.rules[0].generate.kind: kind can not be empty"),
        (policy(generating(name="")), "spec.rules[0].generate.name: name can not be empty"),
        (policy(generating(apiVersion="")), "spec.rules[0].generate.apiVersion: apiVersion can not be empty"),
        (
            policy({"match": NAMESPACES, "generate": {"foreach": [{"list": "a", "kind": "ConfigMap", "name": "c"}]}}),
            "spec.rules[0].generate.foreach[0].apiVersion: apiVersion can not be empty",
        ),
        (
            policy({**generating(), "match": {"resources": {"kinds": ["ConfigMap"]}}}),
            "spec.rules[0].generate.kind: generation kind and match resource kind should not be the same",
        ),
        (
            policy(generating(data={"data": {"=(a)": "b"}})),
            (
                "spec.rules[0].generate.data.data.=(a): "
                "anchors not supported on generate resources: unsupported anchor =(a)"
            ),
        ),
        (
            policy({**generating(), "match": PODS}, kind="Policy"),
            (
                "spec.rules[0].generate.namespace: target resource scope mismatched: "
                "a namespaced policy cannot generate resources in other namespaces, "
                "expected: shop, received: {{request.object.metadata.name}}"
            ),
        ),
        (
            policy(
                {
                    "generate": {
                        "apiVersion": "v1",
                        "kind": "Secret",
                        "name": "s",
                        "namespace": "shop",
                        "clone": {"name": "s", "namespace": "vault"},
                    }
                },
                kind="Policy",
            ),
            (
                "spec.rules[0].generate.namespace: target resource scope mismatched: "
                "a namespaced policy cannot clone resources from other namespaces, expected: shop, received: vault"
            ),
        ),
        (
            policy({"generate": {"apiVersion": "v1", "kind": "Namespace", "name": "n", "data": {}}}, kind="Policy"),
            (
                "spec.rules[0].generate.namespace: target resource scope mismatched: "
                "the target must be a namespaced resource: v1/Namespace"
            ),
        ),
        (
            policy(
                {
                    "generate": {
                        "namespace": "a",
                        "cloneList": {
                            "namespace": "b",
                            "kinds": ["v1/Secret", "rbac.authorization.k8s.io/v1/ClusterRole"],
                        },
                    }
                }
            ),
            "spec.rules[0].generate.cloneList.kinds: mixed scope of target resources is forbidden",
        ),
        (
            policy({"generate": {"namespace": "a", "cloneList": {"kinds": ["v1/Secret"]}}}),
            "spec.rules[0].generate.cloneList.namespace: namespace is required for namespaced target resources",
        ),
        (
            policy({"generate": {"cloneList": {"namespace": "a", "kinds": ["v1/Namespace"]}}}),
            "spec.rules[0].generate.cloneList.namespace: namespace is forbidden for cluster-wide target resources",
        ),
        (
            policy(
                {
                    "generate": {
                        "namespace": "a",
                        "cloneList": {
                            "namespace": "b",
                            "kinds": ["v1/Secret"],
                            "selector": {"matchLabels": {"a": "b*"}},
                        },
                    }
                }
            ),
            "spec.rules[0].generate.cloneList.selector: wildcard characters `*/?` not supported",
        ),
        (
            policy(
                {"generate": {"namespace": "shop", "cloneList": {"namespace": "b", "kinds": ["v1/Secret"]}}},
                kind="Policy",
            ),
            (
                "spec.rules[0].generate.cloneList.namespace: a namespaced policy cannot clone resources from other "
                "namespace, expected: shop, received: b"
            ),
        ),
        (
            policy(
                {"generate": {"namespace": "shop", "cloneList": {"namespace": "shop", "kinds": ["v1/Namespace"]}}},
                kind="Policy",
            ),
            (
                "spec.rules[0].generate.cloneList.kinds: the source in cloneList must be a namespaced resource: "
                "v1/Namespace"
            ),
        ),
    ],
    "images": [
        (
            policy(verifying(imageReferences=[])),
            "spec.rules[0].verifyImages[0]: An image reference is required",
        ),
        (
            policy(verifying(mutateDigest=True)),
            (
                "spec.rules[0].verifyImages[0].mutateDigest: "
                "mutateDigest must be set to false for \u2018Audit\u2019 failure action"
            ),
        ),
        (
            policy(verifying(imageReferences=["{{request.name}}"])),
            'spec.rules[0].verifyImages[0]: rule "r" should not have variables in image reference section',
        ),
        (
            policy(verifying(attestors=[{"count": 2, "entries": [{"keys": {"kms": "a"}}]}])),
            "spec.rules[0].verifyImages[0].attestors[0]: Count cannot exceed length of entries",
        ),
        (
            policy(verifying(attestations=[{"attestors": [{"entries": []}]}])),
            "spec.rules[0].verifyImages[0].attestations[0].attestors[0]: An entry is required",
        ),
        (policy(attested()), f"{ENTRY}: keys, certificates, keyless, or a nested attestor is required"),
        (policy(attested(keys={})), f"{ENTRY}.keys: A public key, kms key or secret is required"),
        (
            policy(attested(keys={"publicKeys": "k", "signatureAlgorithm": "md5"})),
            f"{ENTRY}.keys: Invalid signature algorithm provided",
        ),
        (policy(attested(certificates={})), f"{ENTRY}.certificates: cert or certChain required"),
        (policy(attested(keyless={})), f"{ENTRY}.keyless: Either Rekor URL or roots are required"),
        (policy(attested(keyless={"rekor": {}})), f"{ENTRY}.keyless: An URL is required"),
        (policy(attested(attestor={"entries": []})), f"{ENTRY}.attestor: An entry is required"),
        (
            policy(verifying(type="Notary", attestors=[{"entries": [{"keyless": {"roots": "a"}}]}])),
            "spec.rules[0].verifyImages[0].attestors: Keyless field is not allowed for type notary",
        ),
        (
            policy({**DENY, "imageExtractors": {"Task": [{"path": "/a"}]}}),
            (
                "spec.rules[0].imageExtractors: "
                "Invalid rule spec for rule 'r', imageExtractors can only be defined for verifyImages rule"
            ),
        ),
        (
            policy(
                {
                    **verifying(mutateDigest=True),
                    "imageExtractors": {"Task": [{"path": "/a", "jmesPath": "b"}]},
                },
                validationFailureAction="Enforce",
            ),
            (
                "spec.rules[0].imageExtractors.Task[0].jmesPath: "
                "jmespath may not be used in an image extractor when mutating digests with verify images"
            ),
        ),
    ],
    "overrides": [
        (
            policy(
                DENY,
                validationFailureActionOverrides=[
                    {"action": "Enforce", "namespaces": ["a", "b"]},
                    {"action": "audit", "namespaces": ["b", "c"]},
                ],
            ),
            (
                "spec.validationFailureActionOverrides[1].namespaces: conflicting namespaces found in path: "
                "spec.validationFailureActionOverrides[1].namespaces: b"
            ),
        ),
        (
            policy(
                DENY,
                validationFailureActionOverrides=[
                    {"action": "Enforce", "namespaces": ["team-a"]},
                    {"action": "Audit", "namespaces": ["team-*"]},
                ],
            ),
            (
                "spec.validationFailureActionOverrides[1].namespaces: "
                "wildcard pattern 'team-*' matches with namespace 'team-a'"
            ),
        ),
        (
            policy(
                validating(
                    deny={},
                    failureActionOverrides=[
                        {"action": "Enforce", "namespaces": ["team-?"]},
                        {"action": "Audit", "namespaces": ["team-*"]},
                    ],
                )
            ),
            (
                "spec.rules[0].validate.failureActionOverrides[1].namespaces: "
                "wildcard pattern 'team-*' conflicts with the pattern 'team-?'"
            ),
        ),
    ],
}


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        pytest.param(document, problem, id=f"{concern}-{index}")
        for concern, rows in WRONG.items()
        for index, (document, problem) in enumerate(rows)
    ],
)
def test_what_is_wrong_is_said_with_its_path(document, problem):
    before = copy.deepcopy(document)
    assert problem in found(document)
    assert document == before
