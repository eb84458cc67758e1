"""Requests that the ConfigMap keeps from policies, and policies that only requests of their own webhook reach."""

import pytest

from kymograph.clients.kubernetes import discovery
from kymograph.controllers.admission import filtering
from kymograph.controllers.configuration import reading
from kymograph.controllers.reports.scans import coverage
from kymograph.engine import compile as compiler
from kymograph.engine import needs, policyset
from support.installed import NO_PRIVILEGES


class Catalogues:
    """What the API server serves."""

    current = discovery.Catalogue((discovery.Served("", "v1", "pods", "Pod", "", namespaced=True),))


def about(kind="Pod", plural="pods", subresource="", user="ann", namespace="shop", name="web"):
    return {
        "kind": {"group": "", "version": "v1", "kind": kind},
        "resource": {"group": "", "version": "v1", "resource": plural},
        "subResource": subresource,
        "operation": "CREATE",
        "namespace": namespace,
        "name": name,
        "userInfo": {"username": user, "groups": ["system:authenticated"]},
    }


def filtered(request, **data):
    configuration, problems = reading.read(data)
    assert problems == ()
    return filtering.Filtering(lambda: configuration, Catalogues()).filters(request)


@pytest.mark.parametrize(
    ("request_", "text", "expected"),
    [
        (about(), "[Pod,shop,*]", True),
        (about(), "[Pod,other,*]", False),
        (about("PodExecOptions", subresource="exec"), "[Pod/exec,*,*]", True),
        (about("PodExecOptions", subresource="exec"), "[PodExecOptions,*,*]", False),
        (about(subresource="status"), "[Pod/?*,*,*]", True),
        (about("Unknown", "unknowns", "thing"), "[Unknown/thing,*,*]", True),
    ],
)
def test_objects_are_filtered_by_the_kind_that_has_the_subresource(request_, text, expected) -> None:
    """The kind of a request on a subresource is often one of its own; Kyverno looks up the parent's, too."""
    assert filtered(request_, resourceFilters=text) is expected


def test_users_are_filtered_by_what_the_request_says_of_them() -> None:
    """Their roles are another matter: these have to be asked for."""
    assert filtered(about(user="ann"), excludeUsernames="a*")
    assert filtered(about(), excludeGroups="system:authenticated")
    assert not filtered(about(user="bob"), excludeUsernames="a*")
    assert not filtered(about(user="ann"), excludeUsernames="a*", excludeRoles="x:y")


def test_roles_are_asked_for_and_what_is_unknown_excludes_nobody() -> None:
    """A mistake of RBAC's side lets nothing pass."""
    configuration, _ = reading.read({"excludeRoles": "shop:admin"})
    by_roles = filtering.Filtering(lambda: configuration).by_roles()
    facts = needs.Facts()
    with pytest.raises(needs.Needed) as asked:
        filtering.excludes(by_roles, about(), facts)
    facts.add(asked.value.need, needs.Roles(("shop:admin",), ()))
    assert filtering.excludes(by_roles, about(), facts)
    unknown = needs.Facts()
    unknown.fail(asked.value.need, "not listed")
    assert not filtering.excludes(by_roles, about(), unknown)
    assert filtering.Filtering().by_roles() is None


CONDITIONS = {"matchConditions": [{"name": "a", "expression": "true"}]}


def compiled(name, **spec):
    document = {**NO_PRIVILEGES, "metadata": {"name": name}}
    return compiler.compile_policy({**document, "spec": {**document["spec"], **spec}})


def test_a_policy_with_match_conditions_is_asked_where_the_api_server_evaluated_them() -> None:
    """Nowhere else in admission, and never in a scan: an existing object is no request."""
    plain, own = compiled("plain"), compiled("own", webhookConfiguration=CONDITIONS)
    policies = policyset.PolicySet((plain, own))
    assert policies.lookup(about(), "Fail") == (plain,)
    assert policies.lookup(about(), "Fail", alone="own") == (own,)
    assert policies.lookup(about(), "Ignore", alone="own") == ()
    assert policies.lookup(about(), "Fail", alone="gone") == ()
    assert [coverage.is_scanned(each) for each in (plain, own)] == [True, False]
