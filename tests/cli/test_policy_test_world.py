"""What stands in for the cluster in a test: values, user info, mocked calls, global entries, objects."""

import pytest

from support import offline

MOOD = "      context: [{name: mood, apiCall: {urlPath: /moods}}]"
VALUES = "apiVersion: cli.kyverno.io/v1alpha1\nkind: Values\n"


def denies(key: str, value: str, context: str = "", match: str = "", background: str = "false") -> str:
    """A policy that fails where a condition holds: its rule `check` fails if `key` equals `value`."""
    return f"""
apiVersion: kyverno.io/v1
kind: ClusterPolicy
metadata:
  name: world
spec:
  background: {background}
  rules:
    - name: check
      match: {{any: [{{resources: {{kinds: [Pod]}}{match}}}]}}
{context}
      validate:
        deny: {{conditions: {{all: [{{key: "{key}", operator: Equals, value: "{value}"}}]}}}}
"""


def check(result: str = "fail", more: str = "") -> str:
    """A manifest about that policy and the Pod `owned`."""
    return offline.manifest(f"policy: world, rule: check, resources: [owned], result: {result}", more=more)


@pytest.mark.parametrize(
    ("key", "value", "values"),
    [
        ("{{ mood }}", "fine", "globalValues: {mood: fine}"),
        ("{{ mood.of.day }}", "fine", "globalValues: {mood.of.day: fine}"),
        ("{{ request.operation }}", "CONNECT", "globalValues: {request.operation: CONNECT}"),
        ("{{ mood }}", "fine", "policies: [{name: world, resources: [{name: owned, values: {mood: fine}}]}]"),
        ("{{ mood }}", "fine", "policies: [{name: world, rules: [{name: check, values: {mood: fine}}]}]"),
        ("{{ mood }}", "first", "policies: [{name: world, rules: [{name: check, foreachValues: {mood: [first, 2]}}]}]"),
        (
            "{{ mood }}",
            "odd",
            "globalValues: {mood: fine}\npolicies: [{name: world, resources: [{name: owned, values: {mood: odd}}]}]",
        ),
        (
            '{{ request.object.metadata.annotations.\\"a.b/c\\" }}',
            "yes",
            'globalValues: {request.object.metadata.annotations."a.b/c": "yes"}',
        ),
    ],
)
def test_values_are_what_expressions_see(tested, tmp_path, key, value, values) -> None:
    """Global ones, those of a resource under a policy, those of a rule; in a file of their own."""
    offline.write(
        tmp_path,
        policy=denies(key, value, MOOD),
        manifest=check(more="variables: values.yaml\n"),
        values=f"{VALUES}{values}\n",
    )
    assert tested(tmp_path)[0][3:] == ("Pass", "Ok")


def test_values_may_stand_in_the_test_itself(tested, tmp_path) -> None:
    """`values` instead of `variables`."""
    manifest = check(more="values: {globalValues: {mood: fine}}\n")
    offline.write(tmp_path, policy=denies("{{ mood }}", "fine", MOOD), manifest=manifest)
    assert tested(tmp_path)[0][3:] == ("Pass", "Ok")


def test_the_operation_of_the_values_is_simulated(tested, tmp_path) -> None:
    """DELETE has the old object only."""
    policy = denies("{{ request.oldObject.metadata.name }}", "owned")
    manifest = check(more="values: {globalValues: {request.operation: DELETE}}\n")
    offline.write(tmp_path, policy=policy, manifest=manifest)
    assert tested(tmp_path)[0][3:] == ("Pass", "Ok")


CONTEXTS = {
    "configMap": "configMap: {name: settings, namespace: base}",
    "apiCall": 'apiCall: {urlPath: "/api/v1/namespaces/base/configmaps/settings"}',
    "imageRegistry": 'imageRegistry: {reference: "example.org/app:1"}',
    "globalReference": "globalReference: {name: settings}",
}


@pytest.mark.parametrize("kind", CONTEXTS)
def test_values_show_through_context_entries_that_nothing_can_answer(tested, tmp_path, kind) -> None:
    """Without a cluster the entries that need one are passed over."""
    context = f"      context: [{{name: settings, {CONTEXTS[kind]}}}]"
    manifest = check(
        more="values: {policies: [{name: world, rules: [{name: check, values: {settings.data.mood: fine}}]}]}\n"
    )
    offline.write(tmp_path, policy=denies("{{ settings.data.mood }}", "fine", context), manifest=manifest)
    assert tested(tmp_path)[0][3:] == ("Pass", "Ok")


CLUSTER = """
apiVersion: cli.kyverno.io/v1alpha1
kind: ClusterResource
metadata: {name: objects}
spec:
  resources:
    - {apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: base}, data: {mood: fine}}
    - {apiVersion: v1, kind: ConfigMap, metadata: {name: other, namespace: base}, data: {mood: odd}}
"""


@pytest.mark.parametrize(
    ("context", "key", "value"),
    [
        (CONTEXTS["configMap"], "{{ held.data.mood }}", "fine"),
        (CONTEXTS["apiCall"], "{{ held.data.mood }}", "fine"),
        ('apiCall: {urlPath: "/api/v1/namespaces/base/configmaps", jmesPath: "items | length(@)"}', "{{ held }}", "2"),
        ('apiCall: {urlPath: "/api/v1/pods", jmesPath: "items[].metadata.name | [0]"}', "{{ held }}", "owned"),
    ],
)
def test_cluster_resources_are_read_as_from_a_cluster(tested, tmp_path, context, key, value) -> None:
    """ConfigMaps and GETs of the API; the test's own resources are there too."""
    policy = denies(key, value, f"      context: [{{name: held, {context}}}]")
    manifest = check(more="clusterResources: [cluster.yaml]\n")
    offline.write(tmp_path, policy=policy, manifest=manifest, cluster=CLUSTER)
    assert tested(tmp_path)[0][3:] == ("Pass", "Ok")


def test_a_mocked_call_answers(tested, tmp_path) -> None:
    """By URL or path, and method."""
    context = '      context: [{name: held, apiCall: {service: {url: "https://example.org/x"}, method: POST}}]'
    mocks = """
        apiCallResponses:
          - {url: https://example.org/x, method: GET, response: {body: {mood: odd}}}
          - {url: https://example.org/x, method: POST, response: {body: {mood: fine}}}
    """
    offline.write(tmp_path, policy=denies("{{ held.mood }}", "fine", context), manifest=check(more=mocks))
    assert tested(tmp_path)[0][3:] == ("Pass", "Ok")


def test_a_mocked_failure_is_an_error_of_the_rule(tested, tmp_path) -> None:
    """A status other than 2xx."""
    context = '      context: [{name: held, apiCall: {urlPath: "/apis"}}]'
    mocks = "apiCallResponses: [{urlPath: /apis, response: {statusCode: 500, body: {}}}]\n"
    manifest = check("error", more=mocks)
    offline.write(tmp_path, policy=denies("{{ held.mood }}", "fine", context), manifest=manifest)
    assert tested(tmp_path)[0][3:] == ("Pass", "Ok")


def test_a_global_entry_holds_what_the_test_says(tested, tmp_path) -> None:
    """Data, or objects in files; a field of it, and projections."""
    context = "      context: [{name: held, globalReference: {name: pods.count}}]"
    mocks = """
        globalContextEntries:
          - {name: pods, resourceFiles: [pods.yaml], projections: [{name: count, path: length(@)}]}
    """
    offline.write(tmp_path, policy=denies("{{ held }}", "2", context), manifest=check(more=mocks))
    assert tested(tmp_path)[0][3:] == ("Pass", "Ok")


USER = """
apiVersion: cli.kyverno.io/v1alpha1
kind: UserInfo
metadata: {name: user}
roles: ["ns:editor"]
clusterRoles: [admin]
userInfo: {username: "system:serviceaccount:ci:bot", groups: [builders]}
"""


@pytest.mark.parametrize(
    ("match", "result"),
    [
        (", clusterRoles: [admin]", "fail"),
        (", roles: ['ns:editor']", "fail"),
        (", subjects: [{kind: ServiceAccount, name: bot, namespace: ci}]", "fail"),
        (", subjects: [{kind: Group, name: build*}]", "fail"),
    ],
)
def test_user_info_is_what_filters_look_at(tested, tmp_path, match, result) -> None:
    """Roles, cluster roles and subjects."""
    policy = denies("{{ serviceAccountName }}", "bot", match=match)
    offline.write(tmp_path, policy=policy, manifest=check(result, more="userinfo: user.yaml\n"), user=USER)
    assert tested(tmp_path, "--strict")[0][3:] == ("Pass", "Ok")


def test_a_user_without_a_role_is_not_matched(tested, tmp_path) -> None:
    """The row is excluded."""
    policy = denies("a", "a", match=", clusterRoles: [owner]")
    offline.write(tmp_path, policy=policy, manifest=check(more="userinfo: user.yaml\n"), user=USER)
    assert tested(tmp_path)[0][3:] == ("Pass", "Excluded")


def test_labels_of_namespaces_come_from_values(tested, tmp_path) -> None:
    """`namespaceSelector` of the values answers that of the policy."""
    selector = "      exclude: {any: [{resources: {namespaceSelector: {matchLabels: {kind: sandbox}}}}]}"
    values = "values: {namespaceSelector: [{name: default, labels: {kind: sandbox}}]}\n"
    offline.write(tmp_path, policy=denies("a", "a", selector), manifest=check(more=values))
    assert tested(tmp_path)[0][3:] == ("Pass", "Excluded")


def test_what_is_sent_to_a_subresource_is_matched_as_that(tested, tmp_path) -> None:
    """`subresources` of the values say which kind belongs to which subresource."""
    policy = denies("{{ request.object.spec.replicas }}", "7").replace("kinds: [Pod]", "kinds: [Deployment/scale]")
    scale = "apiVersion: autoscaling/v1\nkind: Scale\nmetadata: {name: owned}\nspec: {replicas: 7}\n"
    values = """
        values:
          subresources:
            - subresource: {name: deployments/scale, kind: Scale, group: autoscaling, version: v1}
              parentResource: {name: deployments, kind: Deployment, group: apps, version: v1}
    """
    offline.write(tmp_path, policy=policy, pods=scale, manifest=check(more=values))
    assert tested(tmp_path, "--strict")[0][3:] == ("Pass", "Ok")
