"""verifyImages rules: what they demand of images in either review, and what they make of objects."""

import json

import pytest

from kymograph.apimachinery import jsonpatch
from kymograph.engine import budget as budgets
from kymograph.engine import compile as compiler
from kymograph.engine import errors, evaluate, exceptions, needs, verdict
from kymograph.engine.images import annotations, application

DIGEST = "sha256:" + "a" * 64
PINNED = f"docker.io/nginx@{DIGEST}"
SIGNED = {"attestors": [{"entries": [{"keys": {"publicKeys": "key"}}]}]}
DIGESTS = {"mutateDigest": False, "required": False}
VERIFIED = {"mutateDigest": False, "verifyDigest": False}
CHANGED = {"verifyDigest": False, "required": False, "failureAction": "Enforce"}


def policy(*entries, name="p", of_rule=None, namespace="", **spec):
    rule = {
        "name": "r",
        "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
        "verifyImages": [{"imageReferences": ["*"], **entry} for entry in entries],
        **(of_rule or {}),
    }
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    kind = "Policy" if namespace else "ClusterPolicy"
    document = {"apiVersion": "kyverno.io/v1", "kind": kind, "metadata": metadata, "spec": {"rules": [rule], **spec}}
    return compiler.compile_policy(document, admits_signed=True)


def pod(*images, noted=None, kind="Pod", **lists):
    lists = {"containers": images, **lists}
    spec = {where: [{"name": f"c{n}", "image": image} for n, image in enumerate(all_)] for where, all_ in lists.items()}
    metadata = {"name": "x", "namespace": "default"}
    if noted is not None:
        metadata["annotations"] = {annotations.SCOPED: noted if isinstance(noted, str) else json.dumps(noted)}
    if kind == "Pod":
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": {"template": {"spec": spec}}}


def noted(status="pass", image="docker.io/nginx:1", policy="/p", rule="r"):
    return {"version": 1, "policies": {policy: {rule: {image: status}}}}


def request(resource, old=None, operation="CREATE"):
    group, _, version = resource["apiVersion"].rpartition("/")
    return {
        "kind": {"group": group, "version": version, "kind": resource["kind"]},
        "namespace": "default",
        "operation": operation,
        "object": resource if operation != "DELETE" else None,
        "oldObject": old,
    }


def judged(compiled, resource, **more):
    """What the validating review finds: (status, message) of each rule."""
    facts = needs.Facts()
    found = evaluate.evaluate([compiled], request(resource, **more), facts, budgets.Budget(), lambda: 0)
    return [(rule.status, rule.message) for result in found for rule in result.rules]


def verify(compiled, resource, digests=None, excepted=None, **more):
    """What the mutating review makes of an object, with the digests that a registry knows."""
    facts = needs.Facts()
    of_several = compiled if isinstance(compiled, list) else [compiled]
    asked = []
    verification = application.Verification(
        of_several, request(resource, **more), facts, budgets.Budget(), lambda: 0, exceptions=excepted
    )
    while True:
        try:
            results, changed = verification.run()
            break
        except needs.Needed as needed:
            asked.append(needed.need)
            digest = (digests or {}).get(needed.need.reference)
            if digest is None:
                facts.fail(needed.need, "no such host")
            else:
                facts.add(needed.need, {"resolvedImage": f"somewhere/some@{digest}"})
    found = [(rule.status, rule.message) for result in results for rule in result.rules]
    return found, changed, asked


@pytest.mark.parametrize(
    ("entry", "resource", "found"),
    [
        (DIGESTS, pod("nginx:1"), ("fail", "missing digest for docker.io/nginx:1")),
        (DIGESTS, pod("nginx"), ("fail", "missing digest for docker.io/nginx:latest")),
        (DIGESTS, pod(PINNED), ("pass", "image verified")),
        (DIGESTS, pod(f"nginx:1@{DIGEST}"), ("pass", "image verified")),
        (DIGESTS, pod(PINNED, initContainers=["a:1"]), ("fail", "missing digest for docker.io/a:1")),
        (DIGESTS, pod(PINNED, ephemeralContainers=["a:1"]), ("fail", "missing digest for docker.io/a:1")),
        (VERIFIED, pod("nginx:1"), ("fail", "unverified image docker.io/nginx:1")),
        (VERIFIED, pod(PINNED), ("fail", f"unverified image {PINNED}")),
        (VERIFIED, pod("nginx:1", noted=noted()), ("pass", "image verified")),
        (VERIFIED, pod("nginx:1", noted=noted("skip")), ("skip", "image skipped, skipped images: docker.io/nginx:1")),
        (VERIFIED, pod("nginx:1", noted=noted("fail")), ("fail", "unverified image docker.io/nginx:1")),
        (VERIFIED, pod("nginx:1", noted=noted("strange")), ("pass", "image verified")),
        (VERIFIED, pod("nginx:1", noted=noted(policy="/q")), ("fail", "unverified image docker.io/nginx:1")),
        (VERIFIED, pod("nginx:1", noted=noted(rule="q")), ("fail", "unverified image docker.io/nginx:1")),
        (VERIFIED, pod("nginx:1", noted={"docker.io/nginx:1": "pass"}), ("fail", "unverified image docker.io/nginx:1")),
        (VERIFIED | {"skipImageReferences": ["*"]}, pod("a:1"), ("fail", "unverified image docker.io/a:1")),
    ],
)
def test_the_validating_review_demands_digests_and_notes(entry, resource, found):
    assert judged(policy(entry), resource) == [found]


def test_an_image_that_was_verified_speaks_for_one_that_was_skipped():
    both = noted()
    both["policies"]["/p"]["r"]["docker.io/b:2"] = "skip"
    (found,) = judged(policy(VERIFIED), pod("nginx:1", "b:2", noted=both))
    assert found == ("pass", "image verified, skipped images: docker.io/b:2")


@pytest.mark.parametrize("text", ["nonsense", "[]", '{"version": 1, "policies": []}', '{"policies": {"/p": 1}}'])
def test_notes_that_cannot_be_read_fail(text):
    ((status, message),) = judged(policy(VERIFIED), pod("nginx:1", noted=text))
    assert status == "fail"
    assert message.startswith("failed to parse scoped image metadata: ")


def test_notes_of_a_namespaced_policy_name_its_namespace():
    compiled = policy(VERIFIED, namespace="default")
    assert judged(compiled, pod("nginx:1", noted=noted(policy="default/p"))) == [("pass", "image verified")]
    assert judged(compiled, pod("nginx:1", noted=noted())) == [("fail", "unverified image docker.io/nginx:1")]


def test_only_images_that_an_entry_names_are_looked_at():
    compiled = policy(DIGESTS | {"imageReferences": ["ghcr.io/*"]})
    assert judged(compiled, pod("nginx:1")) == []
    assert judged(compiled, pod("nginx:1", f"ghcr.io/a@{DIGEST}")) == [("pass", "image verified")]
    assert judged(compiled, pod("nginx:1", "ghcr.io/a:1")) == [("fail", "missing digest for ghcr.io/a:1")]


def test_the_deprecated_image_is_one_more_reference():
    compiled = policy(DIGESTS | {"imageReferences": ["quay.io/*"], "image": "docker.io/*"})
    assert judged(compiled, pod("nginx:1")) == [("fail", "missing digest for docker.io/nginx:1")]


def test_a_rule_without_images_of_its_own_is_not_evaluated():
    """Neither its context nor its preconditions: a variable that is missing does no harm."""
    unmet = {"preconditions": {"all": [{"key": "{{ request.object.no }}", "operator": "Equals", "value": 1}]}}
    compiled = policy(DIGESTS | {"imageReferences": ["quay.io/*"]}, of_rule=unmet)
    assert judged(compiled, pod("nginx:1")) == []
    assert verify(compiled, pod("nginx:1")) == ([], pod("nginx:1"), [])
    ((status, _),) = judged(policy(DIGESTS, of_rule=unmet), pod("nginx:1"))
    assert status == "error"


def test_a_deletion_is_not_judged_and_an_image_that_is_none_is_passed_over():
    compiled = policy(DIGESTS)
    assert judged(compiled, pod("nginx:1"), old=pod("nginx:1"), operation="DELETE") == []
    assert verify(compiled, pod("nginx:1"), old=pod("nginx:1"), operation="DELETE")[0] == []
    assert judged(compiled, pod("NO:::IMAGE")) == []


def test_rules_that_demand_nothing_leave_the_validating_review_alone():
    compiled = policy(CHANGED)
    assert not compiled.validate.every
    assert [rule.name for rule in compiled.verify.written] == ["r"]
    assert {rule.type for rule in compiled.rules} == {"imageVerify"}


def test_a_tag_becomes_the_digest_that_it_has():
    """In each list of containers; an image with a digest is left alone."""
    resource = pod("nginx:1", f"ghcr.io/a/b@{DIGEST}", initContainers=["busybox"])
    digests = {"docker.io/nginx:1": DIGEST, "docker.io/busybox:latest": "sha256:" + "b" * 64}
    found, changed, asked = verify(policy(CHANGED), resource, digests)
    assert found == [("pass", "mutated image digest")] * 2
    assert {each.reference for each in asked} == set(digests)
    assert {each["path"]: each["value"] for each in jsonpatch.make(resource, changed)} == {
        "/spec/containers/0/image": f"docker.io/nginx:1@{DIGEST}",
        "/spec/initContainers/0/image": f"docker.io/busybox:latest@sha256:{'b' * 64}",
    }
    assert resource == pod("nginx:1", f"ghcr.io/a/b@{DIGEST}", initContainers=["busybox"])


def test_a_controller_is_changed_by_the_rule_rewritten_for_it():
    found, changed, _ = verify(policy(CHANGED), pod("nginx:1", kind="Deployment"), {"docker.io/nginx:1": DIGEST})
    assert found == [("pass", "mutated image digest")]
    assert changed["spec"]["template"]["spec"]["containers"][0]["image"] == f"docker.io/nginx:1@{DIGEST}"
    assert judged(policy(DIGESTS), changed) == [("pass", "image verified")]


def test_a_registry_that_does_not_answer_is_an_error_and_changes_nothing():
    resource = pod("nginx:1")
    found, changed, _ = verify(policy(CHANGED), resource)
    failure = "failed to update digest: failed to fetch image reference: docker.io/nginx:1, error: no such host"
    assert found == [("error", failure)]
    assert changed is resource


def test_where_no_registry_may_be_asked_that_is_said():
    facts = needs.Facts(without=[needs.ImageData])
    found = application.Verification(
        [policy(CHANGED)], request(pod("nginx:1")), facts, budgets.Budget(), lambda: 0
    ).run()
    (rule,) = found.results[0].rules
    assert rule.message.endswith("error: no image registry may be asked here")


def test_registries_are_asked_with_the_credentials_of_the_entry():
    credentials = {"secrets": ["{{ request.namespace }}-pull"], "providers": ["github"], "allowInsecureRegistry": True}
    *_, asked = verify(policy(CHANGED | {"imageRegistryCredentials": credentials}), pod("nginx:1"))
    assert asked == [needs.ImageData("docker.io/nginx:1", ("default-pull",), ("github",), insecure=True)]


def test_the_next_rule_and_policy_see_the_digest():
    """And the registry is asked once for each image."""
    found, changed, asked = verify(
        [policy(CHANGED), policy(CHANGED, name="q")], pod("nginx:1"), {"docker.io/nginx:1": DIGEST}
    )
    assert found == [("pass", "mutated image digest")]
    assert len(asked) == 1
    assert changed["spec"]["containers"][0]["image"] == f"docker.io/nginx:1@{DIGEST}"


def test_images_that_need_no_signature_are_judged_without_one():
    """Skipped ones are noted as such, and pass the validating review so."""
    compiled = policy(VERIFIED | SIGNED | {"skipImageReferences": ["docker.io/*"]})
    found, changed, _ = verify(compiled, pod("nginx:1"))
    message = "skipping image reference image docker.io/nginx:1, policy p ruleName r"
    assert found == [("skip", message)]
    assert changed["metadata"]["annotations"] == {
        annotations.PLAIN: '{"docker.io/nginx:1":"skip"}',
        annotations.SCOPED: '{"version":1,"policies":{"/p":{"r":{"docker.io/nginx:1":"skip"}}}}',
    }
    assert judged(compiled, changed) == [("skip", "image skipped, skipped images: docker.io/nginx:1")]


def test_an_image_that_comes_to_a_signature_ends_in_an_error():
    """It is noted as failed, and never passes."""
    compiled = policy(VERIFIED | SIGNED)
    found, changed, _ = verify(compiled, pod("nginx:1"))
    message = "failed to verify image docker.io/nginx:1: signatures are not supported by this version of Kymograph"
    assert found == [("error", message)]
    assert judged(compiled, changed) == [("fail", "unverified image docker.io/nginx:1")]


def test_skipped_references_may_hold_variables_and_what_cannot_be_resolved_is_an_error():
    skips = {"skipImageReferences": ["{{ request.object.metadata.name }}/*", "docker.io/{{ request.namespace }}*"]}
    compiled = policy(VERIFIED | SIGNED | skips)
    assert verify(compiled, pod("default:1"))[0][0][0] == "skip"
    missing = {"skipImageReferences": ["{{ request.object.metadata.labels.x }}"]}
    ((status, message),), *_ = verify(policy(VERIFIED | SIGNED | missing), pod("nginx:1"))
    assert status == "error"
    assert message == (
        "failed to substitute variables: failed to resolve request.object.metadata.labels.x at path "
        '/verifyImages/0/skipImageReferences/0: JMESPath query failed: Unknown key "labels" in path'
    )


def test_an_image_that_an_update_leaves_alone_is_not_verified_again():
    """Its note is written anew, whatever annotations the update brings; another image is verified."""
    compiled = policy(VERIFIED | SIGNED)
    before = pod("nginx:1", noted=noted())
    found, changed, _ = verify(compiled, pod("nginx:1"), old=before, operation="UPDATE")
    assert found == []
    assert json.loads(changed["metadata"]["annotations"][annotations.SCOPED]) == noted()
    ((status, _),), *_ = verify(compiled, pod("nginx:2"), old=before, operation="UPDATE")
    assert status == "error"


def test_an_exception_skips_the_rule_in_both_reviews():
    excepted = exceptions.Exceptions(
        [
            exceptions.compile_exception(
                {
                    "apiVersion": "kyverno.io/v2",
                    "kind": "PolicyException",
                    "metadata": {"name": "e", "namespace": "default"},
                    "spec": {
                        "exceptions": [{"policyName": "p", "ruleNames": ["r"]}],
                        "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
                    },
                }
            )
        ]
    )
    found, changed, asked = verify(policy(CHANGED), pod("nginx:1"), excepted=excepted)
    assert found == [("skip", "rule is skipped due to policy exceptionsdefault/e")]
    assert (changed, asked) == (pod("nginx:1"), [])


@pytest.mark.parametrize(
    ("said", "spec", "blocked"),
    [
        (("Enforce",), {}, True),
        (("Audit",), {}, False),
        ((None,), {}, False),
        ((None,), {"validationFailureAction": "Enforce"}, True),
        (("Audit",), {"validationFailureAction": "Enforce"}, False),
        (("Audit", "Enforce"), {}, True),
    ],
)
def test_one_entry_that_enforces_makes_the_rule_do_so(said, spec, blocked):
    entries = [DIGESTS | ({"failureAction": action} if action else {}) for action in said]
    compiled = policy(*entries, **spec)
    asked = request(pod("nginx:1"))
    found = evaluate.evaluate([compiled], asked, needs.Facts(), budgets.Budget(), lambda: 0)
    assert verdict.of(found, asked).blocked is blocked


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (SIGNED, "attestors: attestors are not supported by this version of Kymograph"),
        (
            {"attestations": [{"type": "t"}]},
            "attestations: attestations are not supported by this version of Kymograph",
        ),
        ({"key": "k"}, "key: key is not supported by this version of Kymograph"),
        ({"issuer": "i"}, "issuer: issuer is not supported by this version of Kymograph"),
        ({"requird": True}, "requird: unknown field; did you mean 'required'?"),
        ({"required": "yes"}, "required: must be true or false, not a string"),
        ({"type": "PGP"}, "type: 'PGP' is not one of Cosign, SigstoreBundle, Notary"),
        ({"failureAction": "audit"}, "failureAction: 'audit' is not one of Audit, Enforce"),
        (
            {"imageRegistryCredentials": {"providers": ["x"]}},
            "imageRegistryCredentials.providers[0]: 'x' is not one of default, google, azure, amazon, github",
        ),
    ],
)
def test_what_cannot_be_enforced_is_refused_by_field(entry, problem):
    """Signatures too, unless somebody asks for such rules to be compiled all the same."""
    rule = {
        "name": "r",
        "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
        "verifyImages": [{"imageReferences": ["*"], "mutateDigest": False, **entry}],
    }
    with pytest.raises(errors.PolicyInvalid) as refused:
        compiler.compile_policy(
            {
                "apiVersion": "kyverno.io/v1",
                "kind": "ClusterPolicy",
                "metadata": {"name": "p"},
                "spec": {"rules": [rule]},
            }
        )
    assert f"spec.rules[0].verifyImages[0].{problem}" in map(str, refused.value.problems)
