"""Rules about the roles of the user: what they match, what they ask for, and where they may not be."""

import itertools

import pytest

from kymograph.engine import budget as budgets
from kymograph.engine import compile as compiler
from kymograph.engine import errors, evaluate, fields, needs, policy
from kymograph.engine.match import blocks, target

ASKED = needs.UserRoles("jane", ("ops",), "shop")
NOBODYS = needs.Roles((), ())
JANES = needs.Roles(("ci:builder", "shop:editor"), ("cluster-admin", "view"))
KINDS = {"kinds": ["ConfigMap"]}


def compiled(rule=None, *, background=False, **validate) -> policy.CompiledPolicy:
    """A policy that denies what its rule matches."""
    rule = {
        "name": "r",
        "match": {"any": [{"resources": KINDS}]},
        "validate": {"message": "no", "deny": {}, **validate},
        **(rule or {}),
    }
    return compiler.compile_policy(
        {
            "apiVersion": "kyverno.io/v1",
            "kind": "ClusterPolicy",
            "metadata": {"name": "p"},
            "spec": {"background": background, "rules": [rule]},
        }
    )


def request(operation="CREATE", **changes):
    """Jane writes a ConfigMap."""
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "shop"}}
    return {
        "uid": "u",
        "kind": {"group": "", "version": "v1", "kind": "ConfigMap"},
        "resource": {"group": "", "version": "v1", "resource": "configmaps"},
        "namespace": "shop",
        "operation": operation,
        "object": made,
        "oldObject": made if operation == "UPDATE" else None,
        "userInfo": {"username": "jane", "groups": ["ops"]},
        **changes,
    }


def run(policies, made=None, roles: needs.Roles | str | None = JANES):
    """Evaluate policies; the roles of the user are known, cannot be known (a text), or have not been fetched (None)."""
    facts = needs.Facts()
    if isinstance(roles, str):
        facts.fail(ASKED, roles)
    elif roles is not None:
        facts.add(ASKED, roles)
    policies = policies if isinstance(policies, list) else [policies]
    return evaluate.evaluate(policies, made or request(), facts, budgets.Budget(), itertools.count().__next__)


def results(*arguments, **named):
    """(status, message) of every rule that matched."""
    return [(each.status, each.message) for result in run(*arguments, **named) for each in result.rules]


def matched(who, roles=JANES):
    """Whether a filter with that user info matches Jane's request."""
    return bool(run(compiled({"match": {"any": [{"resources": KINDS, **who}]}}), roles=roles))


@pytest.mark.parametrize(
    ("who", "matches"),
    [
        ({"roles": ["shop:editor"]}, True),
        ({"roles": ["shop:other", "ci:builder"]}, True),
        ({"roles": ["shop:*"]}, False),
        ({"roles": ["SHOP:editor"]}, False),
        ({"clusterRoles": ["view"]}, True),
        ({"clusterRoles": ["edit", "cluster-admin"]}, True),
        ({"clusterRoles": ["cluster-*"]}, False),
        ({"clusterRoles": ["shop:editor"]}, False),
        ({"roles": ["shop:editor"], "clusterRoles": ["view"]}, True),
        ({"roles": ["shop:editor"], "clusterRoles": ["edit"]}, False),
        ({"roles": ["shop:other"], "clusterRoles": ["view"]}, False),
        ({"clusterRoles": ["view"], "subjects": [{"kind": "User", "name": "ja*"}]}, True),
        ({"clusterRoles": ["view"], "subjects": [{"kind": "User", "name": "joe"}]}, False),
        ({"clusterRoles": ["edit"], "subjects": [{"kind": "Group", "name": "ops"}]}, False),
        ({"roles": [], "clusterRoles": []}, True),
    ],
)
def test_roles_are_compared_literally_and_all_that_is_said_of_the_user_must_hold(who, matches):
    assert matched(who) is matches


def test_a_user_without_roles_has_none_of_those_named():
    assert not matched({"roles": ["shop:editor"]}, roles=NOBODYS)
    assert not matched({"clusterRoles": ["view"]}, roles=NOBODYS)


@pytest.mark.parametrize(
    ("exclude", "denied"),
    [
        ({"any": [{"clusterRoles": ["cluster-admin"]}]}, False),
        ({"any": [{"clusterRoles": ["edit"]}]}, True),
        ({"any": [{"clusterRoles": ["edit"]}, {"roles": ["ci:builder"]}]}, False),
        ({"all": [{"clusterRoles": ["edit"]}, {"roles": ["ci:builder"]}]}, True),
        ({"all": [{"clusterRoles": ["view"]}, {"roles": ["ci:builder"]}]}, False),
        ({"any": [{"resources": {"kinds": ["Secret"]}, "clusterRoles": ["cluster-admin"]}]}, True),
        ({"clusterRoles": ["cluster-admin"]}, False),
        ({"clusterRoles": ["cluster-admin"], "roles": ["x:y"]}, True),
    ],
)
def test_exclude_spares_those_who_have_the_roles(exclude, denied):
    assert bool(results(compiled({"exclude": exclude}))) is denied


@pytest.mark.parametrize("form", ["any", "all"])
def test_the_oldest_form_is_one_filter(form):
    newer = {"match": {form: [{"resources": KINDS, "roles": ["shop:editor"]}]}}
    older = {"match": {"resources": KINDS, "roles": ["shop:editor"]}}
    assert results(compiled(newer)) == results(compiled(older)) == [("fail", "no")]
    assert results(compiled(older), roles=NOBODYS) == []


def test_without_a_user_match_forgets_roles_and_exclude_does_not():
    nobody = request(userInfo=None)
    matching = compiled({"match": {"any": [{"resources": KINDS, "clusterRoles": ["edit"]}]}})
    excluding = compiled({"exclude": {"any": [{"clusterRoles": ["view"]}]}})
    assert results([matching, excluding], nobody, roles=None) == [("fail", "no"), ("fail", "no")]


@pytest.mark.parametrize(
    ("policy", "asks"),
    [
        (compiled(), False),
        (compiled({"match": {"any": [{"resources": KINDS, "subjects": [{"kind": "User", "name": "x"}]}]}}), False),
        (compiled({"match": {"any": [{"resources": KINDS, "roles": []}]}}), False),
        (compiled({"match": {"any": [{"resources": KINDS, "roles": ["a:b"]}]}}), True),
        (compiled({"exclude": {"any": [{"clusterRoles": ["a"]}]}}), True),
        (compiled(message="{{ request.userInfo.username }} may not"), False),
        (compiled(message="the request, its roles: {{ request.name }} {{ request.object.roles }}"), False),
        (compiled(message="you are {{ request.roles }}"), True),
        (compiled(message='you are {{ request."clusterRoles" }}'), True),
        (compiled(message="you are {{ to_string(request) }}"), True),
        (compiled(message="you are {{ request.[name, roles] }}"), True),
        (compiled(message="you are {{ request.{{ request.object.data.field }} }}"), True),
        (compiled(message="you are {{ request.object.data.{{ request.name }} }}"), False),
        (
            compiled(deny={"conditions": {"any": [{"key": "{{request.roles}}", "operator": "AnyIn", "value": ["a"]}]}}),
            True,
        ),
        (compiled({"preconditions": [{"key": "a", "operator": "Equals", "value": "{{ request.roles }}"}]}), True),
        (compiled({"reportProperties": {"who": "{{ request.clusterRoles }}"}}), True),
    ],
)
def test_roles_are_asked_for_only_where_a_policy_looks_at_them(policy, asks):
    """Each look-up, and each watch of bindings, is the wish of some policy."""
    assert policy.needs_roles is asks
    if asks:
        with pytest.raises(needs.Needed) as raised:
            run(policy, roles=None)
        assert raised.value.need == ASKED
    else:
        run(policy, roles=None)


def test_nothing_is_asked_where_there_is_no_user():
    assert results(compiled(message="{{ request.roles || 'none' }}"), request(userInfo=None), roles=None) == [
        ("fail", "none")
    ]


@pytest.mark.parametrize(
    ("message", "roles", "text"),
    [
        ("{{ request.roles }}", JANES, '["ci:builder","shop:editor"]'),
        ("{{ request.clusterRoles | to_string(@) }}", JANES, '["cluster-admin","view"]'),
        ("{{ contains(request.clusterRoles, 'view') }}", JANES, "true"),
        ("{{ request.roles || 'none' }}", NOBODYS, "none"),
        ("{{ request.roles || 'none' }}", needs.Roles((), ("view",)), "none"),
        ("{{ length(request.clusterRoles || `[]`) }}", NOBODYS, "0"),
    ],
)
def test_variables_tell_the_roles_and_a_list_without_entries_is_absent(message, roles, text):
    """Kyverno leaves an empty list out of `request`, which is why policies write `request.roles || ''`."""
    assert results(compiled(message=f"you: {message}"), roles=roles) == [("fail", f"you: {text}")]


def test_an_absent_list_is_an_error_in_conditions():
    """As everywhere: a variable that names nothing cannot be resolved."""
    conditions = {"any": [{"key": "{{ request.roles }}", "operator": "AnyIn", "value": ["a:b"]}]}
    ((status, message),) = results(compiled(deny={"conditions": conditions}), roles=NOBODYS)
    assert status == "error"
    assert 'Unknown key "roles" in path' in message


def test_roles_that_a_review_claims_do_not_count():
    """Only the cluster says who has which roles."""
    claiming = request(roles=["shop:editor"], clusterRoles=["cluster-admin"])
    assert results(compiled(message="{{ request.roles || 'none' }}"), claiming, roles=NOBODYS) == [("fail", "none")]
    excluding = compiled({"exclude": {"any": [{"clusterRoles": ["cluster-admin"]}]}})
    assert results(excluding, claiming, roles=NOBODYS) == [("fail", "no")]
    assert claiming["roles"] == ["shop:editor"]


def test_roles_that_cannot_be_known_are_an_error_of_the_rules_that_look_at_them():
    looking = [
        compiled({"match": {"any": [{"resources": KINDS, "roles": ["a:b"]}]}}),
        compiled({"exclude": {"any": [{"clusterRoles": ["a"]}]}}),
        compiled(deny={"conditions": {"any": [{"key": "{{request.roles}}", "operator": "AnyIn", "value": ["a"]}]}}),
        compiled(deny={"conditions": {"any": [{"key": "{{request.roles||''}}", "operator": "Equals", "value": "a"}]}}),
    ]
    found = results([compiled(), *looking], roles="bindings are not readable")
    assert [status for status, _ in found] == ["fail", "error", "error", "error", "error"]
    assert all("bindings are not readable" in message for _, message in found[1:])


def test_subjects_that_do_not_hold_make_roles_irrelevant():
    """What cannot be known matters only where it could change the result."""
    who = {"subjects": [{"kind": "User", "name": "joe"}], "roles": ["a:b"]}
    assert not matched(who, roles="bindings are not readable")


def test_a_violation_of_the_past_is_not_tolerated_for_the_roles_of_today():
    """Nobody knows the roles of whoever wrote the old object: a rule about them does not match it."""
    changed = request("UPDATE")
    plain = compiled(failureAction="Enforce")
    for_editors = compiled(
        {"match": {"any": [{"resources": KINDS, "roles": ["shop:editor"]}]}}, failureAction="Enforce"
    )
    assert [status for status, _ in results(plain, changed)] == ["skip"]
    assert [status for status, _ in results(for_editors, changed)] == ["fail"]


@pytest.mark.parametrize(
    ("block", "filter_", "place"),
    [
        ("match", {"any": [{"resources": KINDS}, {"resources": KINDS, "roles": ["a:b"]}]}, "match/any[1]/roles"),
        ("match", {"all": [{"resources": KINDS, "clusterRoles": ["a"]}]}, "match/all[0]/clusterRoles"),
        ("match", {"resources": KINDS, "clusterRoles": ["a"], "roles": ["a:b"]}, "match/roles"),
        ("exclude", {"any": [{"clusterRoles": ["a"]}]}, "exclude/any[0]/clusterRoles"),
        ("exclude", {"subjects": [{"kind": "User", "name": "x"}]}, "exclude/subjects"),
        (
            "exclude",
            {"all": [{"clusterRoles": ["a"], "subjects": [{"kind": "User", "name": "x"}]}]},
            "exclude/all[0]/clusterRoles",
        ),
    ],
)
def test_rules_about_users_are_not_for_background_work(block, filter_, place):
    """Existing objects have no user; the words are Kyverno's."""
    with pytest.raises(errors.PolicyInvalid) as raised:
        compiled({block: filter_}, background=True)
    (problem,) = raised.value.problems
    assert str(problem) == (
        "spec.rules[0]: only select variables are allowed in background mode. Set spec.background=false to disable "
        f"background mode for this policy rule: invalid variable used at path: spec/rules[0]/{place}"
    )


@pytest.mark.parametrize(
    "variable", ["request.roles", "request.clusterRoles[0]", "request.userInfo", "serviceAccountName"]
)
def test_variables_about_users_are_not_for_background_work(variable):
    with pytest.raises(errors.PolicyInvalid) as raised:
        compiled(message=f"{{{{ {variable} }}}}", background=True)
    (problem,) = raised.value.problems
    assert problem.path == "spec.rules[0].validate.message"
    assert problem.reason.startswith("only select variables are allowed in background mode.")
    assert problem.reason.endswith(f"variable {{{{ {variable} }}}} is not allowed")


def test_a_filter_says_whether_it_looks_at_roles():
    rule = {"match": {"any": [{"resources": KINDS, "roles": ["a:b"]}]}}
    match = blocks.read(rule, "rule", fields.Problems())
    user = target.User("jane", (), ("a:b",), ())
    made = target.of({"metadata": {"name": "c"}}, ("", "v1", "ConfigMap", ""), "CREATE", "shop", {}, user)
    assert match.needs_roles
    assert match.decide(made) == "matched"
    assert match.decide(made._replace(user=target.User("jane"))) == "unmatched"
