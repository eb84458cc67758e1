"""Policies about the roles of the user, with real bindings, and what is said of policies when they are written."""

import pytest

from support.installed import eventually, policy

CONFIG_MAPS = {"resources": {"kinds": ["ConfigMap"], "names": ["asked-*"]}}
EVERYBODY = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRole",
    "metadata": {"name": "writes-config"},
    "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}],
}
"""What lets all users of these tests write, in all namespaces: no policy names it, so it decides nothing."""

JANE = ("--as=jane",)
JOE = ("--as=joe",)
OPERATOR = ("--as=olga", "--as-group=ops")
BUILDER = ("--as=system:serviceaccount:roles-ci:builder",)


@pytest.fixture(scope="module", autouse=True)
def _users(installed):
    """Namespaces, roles to be bound, and the right to write; RBAC knows users only by their bindings."""
    names = ["roles-shop", "roles-ci"]
    for name in names:
        installed.kubectl("create", "namespace", name)
        installed.kubectl("create", "role", "editor", "-n", name, "--verb=get", "--resource=pods")
    installed.apply(EVERYBODY)
    everybody = ["--group=system:authenticated", "--clusterrole=writes-config"]
    installed.kubectl("create", "clusterrolebinding", "writes-config", *everybody)
    may = ("auth", "can-i", "create", "configmaps", "-n", "roles-shop", *JANE)
    eventually(lambda: installed.kubectl(*may, check=False).returncode == 0)
    yield
    installed.kubectl("delete", "clusterrolebinding,clusterrole", "writes-config")
    installed.kubectl("delete", "namespace", *names, "--wait=false")


@pytest.fixture
def bind(installed):
    """Bind roles for the length of the test: `kubectl create KIND NAME ...`."""
    made = []

    def create(kind: str, name: str, *arguments: str, namespace: str = "") -> None:
        where = ["-n", namespace] if namespace else []
        installed.kubectl("create", kind, name, *arguments, *where)
        made.append((kind, name, *where))

    yield create
    for each in made:
        installed.kubectl("delete", *each, "--ignore-not-found")


@pytest.fixture
def write(installed):
    """Try to write a ConfigMap as some user; the words of the refusal, empty where there was none."""

    def attempt(*who: str, namespace: str = "roles-shop") -> str:
        document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "asked-a", "namespace": namespace}}
        tried = installed.create(document, "--dry-run=server", *who)
        assert tried.returncode == 0 or "denied the request" in tried.stderr, tried.stderr
        return tried.stderr if tried.returncode else ""

    return attempt


def unless(name: str, *filters: dict) -> dict:
    """A policy that denies those who are not excluded."""
    return policy(
        name,
        {"message": "not with your roles", "deny": {}},
        match={"any": [CONFIG_MAPS]},
        exclude={"any": list(filters)},
        background=False,
    )


def test_a_cluster_role_spares_whoever_is_bound_to_it(enforce, bind, write) -> None:
    """By user, group or service account; and live: bound and unbound."""
    bind("clusterrolebinding", "roles-jane", "--clusterrole=view", "--user=jane")
    enforce(unless("viewers-only", {"clusterRoles": ["view"]}))
    eventually(lambda: not write(*JANE))
    assert "not with your roles" in write(*JOE)
    eventually(lambda: "not with your roles" in write(*OPERATOR))  # which another test may have bound
    eventually(lambda: "not with your roles" in write(*BUILDER))
    bind("clusterrolebinding", "roles-ops", "--clusterrole=view", "--group=ops")
    bind("clusterrolebinding", "roles-builder", "--clusterrole=view", "--serviceaccount=roles-ci:builder")
    eventually(lambda: not write(*OPERATOR))
    eventually(lambda: not write(*BUILDER))
    assert "not with your roles" in write(*JOE)


def test_unbinding_counts(installed, enforce, bind, write) -> None:
    """A binding that is deleted spares nobody any more."""
    bind("clusterrolebinding", "roles-jane", "--clusterrole=view", "--user=jane")
    enforce(unless("viewers-only", {"clusterRoles": ["view"]}))
    eventually(lambda: not write(*JANE))
    installed.kubectl("delete", "clusterrolebinding", "roles-jane")
    eventually(lambda: "not with your roles" in write(*JANE))


def test_a_cluster_role_bound_in_a_namespace_counts_there(enforce, bind, write) -> None:
    """A RoleBinding to a ClusterRole gives it in one namespace."""
    bind("rolebinding", "jane", "--clusterrole=view", "--user=jane", namespace="roles-shop")
    enforce(unless("viewers-only", {"clusterRoles": ["view"]}))
    eventually(lambda: not write(*JANE))
    eventually(lambda: "not with your roles" in write(*JANE, namespace="roles-ci"))
    assert not write(*JANE)


def test_a_role_is_known_by_its_namespace_and_name(enforce, bind, write) -> None:
    """A Role of one namespace is no Role of another; where the request goes does not matter."""
    bind("rolebinding", "jane", "--role=editor", "--user=jane", namespace="roles-shop")
    bind("rolebinding", "builder", "--role=editor", "--serviceaccount=roles-ci:builder", namespace="roles-ci")
    enforce(unless("shop-editors-only", {"roles": ["roles-shop:editor"]}))
    eventually(lambda: not write(*JANE))
    assert write(*JANE, namespace="roles-ci") == ""
    assert "not with your roles" in write(*BUILDER, namespace="roles-ci")
    assert "not with your roles" in write(*JOE)


def test_match_by_roles_and_subjects_at_once(enforce, bind, write) -> None:
    """Everything that is said of the user must hold."""
    bind("clusterrolebinding", "roles-ops", "--clusterrole=view", "--group=ops")
    bind("clusterrolebinding", "roles-jane", "--clusterrole=view", "--user=jane")
    match = {"any": [{**CONFIG_MAPS, "clusterRoles": ["view"], "subjects": [{"kind": "Group", "name": "op?"}]}]}
    enforce(policy("no-ops", {"message": "not for ops", "deny": {}}, match=match, background=False))
    eventually(lambda: "not for ops" in write(*OPERATOR))
    assert write(*JANE) == ""
    assert write("--as=olga", "--as-group=other") == ""


def test_variables_tell_the_roles(enforce, bind, write) -> None:
    """Conditions and messages see what the user is bound to."""
    bind("rolebinding", "jane", "--role=editor", "--user=jane", namespace="roles-shop")
    condition = {"key": "{{ request.roles || '' }}", "operator": "AnyIn", "value": ["roles-shop:editor"]}
    message = "you have {{ request.roles }} and {{ length(request.clusterRoles) > `0` && 'more' || 'no more' }}"
    validate = {"message": message, "deny": {"conditions": {"all": [condition]}}}
    enforce(policy("tells", validate, match={"any": [CONFIG_MAPS]}, background=False))
    eventually(lambda: 'you have ["roles-shop:editor"] and more' in write(*JANE))
    assert write(*JOE) == ""


def test_a_policy_about_users_is_refused_in_background_mode(installed) -> None:
    """The author is told which field it is, in Kyverno's words."""
    document = unless("everywhere", {"clusterRoles": ["view"]})
    del document["spec"]["background"]
    assert (
        "invalid variable used at path: spec/rules[0]/exclude/any[0]/clusterRoles" in installed.create(document).stderr
    )


def test_an_unknown_kind_and_old_forms_are_accepted_with_warnings(installed, enforce) -> None:
    """What kubectl shows when the policy is applied."""
    document = policy(
        "future",
        {"failureAction": "audit", "message": "no", "deny": {}},
        match={"any": [{"resources": {"kinds": ["ConfigMap", "Sprocket"]}}]},
    )
    created = installed.create(document, "--dry-run=server")
    assert created.returncode == 0
    assert "Warning: spec.rules[0].match.any[0].resources.kinds[1]: the API server does not serve Sprocket;" in (
        created.stderr
    )
    assert (
        "Warning: spec.rules[0].validate.failureAction: "
        "Validation failure actions enforce/audit are deprecated, use Enforce/Audit instead."
    ) in created.stderr


def test_a_policy_of_a_namespace_about_a_cluster_wide_kind_is_refused(installed) -> None:
    """It would be accepted and enforce nothing."""
    match = {"any": [{"resources": {"kinds": ["Namespace"]}}]}
    document = policy("wide", {"message": "no", "deny": {}}, kind="Policy", namespace="default", match=match)
    assert "Cluster wide resource 'Namespace' not allowed in namespaced policy" in installed.create(document).stderr
