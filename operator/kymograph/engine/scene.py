"""What all rules of one evaluation look at: the target of filters, the object, and the context of expressions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from kymograph.apimachinery import gvk
from kymograph.engine import errors, exceptions, needs, policy, policyset
from kymograph.engine.match import target as targets
from kymograph.engine.rules import outcome

Values: TypeAlias = Callable[[policy.CompiledRule], Mapping[str, Any]]
"""From a rule to values by their dotted names, for `context.laid_over`: a command line sets them, no cluster does."""

_SERVICE_ACCOUNT = "system:serviceaccount:"
_ROLES = ("roles", "clusterRoles")
_NOBODY_OF_TODAY = targets.User("kymograph:whoever-made-the-old-object", ("kymograph:unknown",))
"""Stands in for the user of an old object: rules about users must not match it by the user of today's request."""


class Entered(NamedTuple):
    """What the body of a rule is evaluated with, once everything before it has been gone through.

    Attributes:
        context: What its expressions see.
        excused: The exceptions that matched and leave it to a `podSecurity` body what they exclude.
    """

    context: dict[str, Any]
    excused: tuple[exceptions.CompiledException, ...] = ()


class _Unknown(Mapping[str, str]):
    """Labels or roles that could not be fetched: rules that look at them end in an error, the others do not."""

    __slots__ = ("_reason",)

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def __getitem__(self, key: str) -> str:
        raise errors.EvaluationError(self._reason)

    def __iter__(self) -> Iterator[str]:
        raise errors.EvaluationError(self._reason)

    def __len__(self) -> int:
        raise errors.EvaluationError(self._reason)


class _Untold(dict[str, Any]):
    """A request whose user's roles could not be fetched: expressions that name them end in an error."""

    __slots__ = ("_reason",)

    def __init__(self, request: Mapping[str, Any], reason: str) -> None:
        super().__init__((key, value) for key, value in request.items() if key not in _ROLES)
        self._reason = reason

    def __missing__(self, key: str) -> Any:
        if key in _ROLES:
            raise errors.EvaluationError(self._reason)
        raise KeyError(key)


class Scene:
    """One object under one operation, with everything that rules may see of it.

    Attributes:
        target: What filters look at.
        resource: The object that is checked: the old one on DELETE.
        context: What expressions see: `request`, `serviceAccountName` and `serviceAccountNamespace`.
        deleting: The operation is DELETE.
        exhausted: Why nothing more may be spent; empty while something is left.
        exceptions: The PolicyExceptions that count; None for none.
        values: The values that are laid over the context of a rule; None for none.
        is_plain: There are neither exceptions nor values.
    """

    __slots__ = (
        "_prior",
        "_request",
        "context",
        "deleting",
        "exceptions",
        "exhausted",
        "is_plain",
        "resource",
        "target",
        "values",
    )

    def __init__(
        self,
        target: targets.Target,
        resource: dict[str, Any],
        context: outcome.Context,
        request: Mapping[str, Any],
        *,
        deleting: bool,
        excepted: exceptions.Exceptions | None = None,
        values: Values | None = None,
    ) -> None:
        self.target = target
        self.resource = resource
        self.context = context
        self.deleting = deleting
        self.exhausted = ""
        self.exceptions = excepted
        self.values = values
        self.is_plain = excepted is None and values is None
        self._request = request
        self._prior: Scene | None = None

    def prior(self) -> "Scene | None":
        """The old object of an UPDATE as if it were being created by nobody in particular; None for others."""
        old = self._request.get("oldObject")
        if self._prior is None and old is not None and self.target.operation == "UPDATE":
            api_version, name = old.get("apiVersion"), old.get("kind")
            group, version = gvk.split_api_version(api_version if isinstance(api_version, str) else "")
            kind = (group, version, name if isinstance(name, str) else "", "")
            labels = self.target.namespace_labels
            target = targets.of(old, kind, "CREATE", self._request.get("namespace") or "", labels, _NOBODY_OF_TODAY)
            request = {**self._request, "object": old, "oldObject": None, "operation": "CREATE"}
            context = {**self.context, "request": request}
            self._prior = Scene(target, old, context, request, deleting=False, values=self.values)
        return self._prior


def of(
    policies: Sequence[policy.CompiledPolicy],
    request: Mapping[str, Any],
    facts: needs.Facts,
    excepted: exceptions.Exceptions | None = None,
    values: Values | None = None,
) -> Scene | None:
    """Set the scene for the evaluation of some policies; None where there is no object to evaluate.

    Args:
        policies: The policies; what they look at is looked up.
        request: An AdmissionRequest, or one made up for an existing object.
        facts: What has been fetched for it.
        excepted: The PolicyExceptions that count.
        values: The values that are laid over the context of a rule.

    Raises:
        Needed: The labels of the namespace or the roles of the user are looked at and not known, or the kind behind a
            subresource is not.
        EvaluationError: The kind behind a subresource could not be fetched.
    """
    new, old = request.get("object"), request.get("oldObject")
    resource = new if new is not None else old
    if resource is None:
        return None
    namespace = request.get("namespace") or ""
    kind = _kind(request, facts)
    excepted = excepted or None
    namespace_labels: Mapping[str, str] = {}
    if (
        namespace
        and kind[2] != "Namespace"
        and ((excepted is not None and excepted.needs_namespace_labels) or _any_needs_labels(policies))
    ):
        namespace_labels = _namespace_labels(namespace, facts)
    operation = request.get("operation") or ""
    account = request.get("userInfo")
    user = None
    if account:
        user = targets.User(account.get("username") or "", tuple(account.get("groups") or ()))
        if (excepted is not None and excepted.needs_roles) or _any_needs_roles(policies):
            user, request = _with_roles(user, request, facts)
    target = targets.of(resource, kind, operation, namespace, namespace_labels, user)
    name = user.name if user is not None else ""
    account_namespace = account_name = ""
    if name.startswith(_SERVICE_ACCOUNT):
        account_namespace, _, account_name = name[len(_SERVICE_ACCOUNT) :].partition(":")
    context = {
        "request": request,
        "serviceAccountName": account_name,
        "serviceAccountNamespace": account_namespace,
    }
    return Scene(target, resource, context, request, deleting=operation == "DELETE", excepted=excepted, values=values)


def _any_needs_labels(policies: Sequence[policy.CompiledPolicy]) -> bool:
    for each in policies:  # noqa: SIM110 - a generator costs three times the loop on the hot path
        if each.needs_namespace_labels:
            return True
    return False


def _any_needs_roles(policies: Sequence[policy.CompiledPolicy]) -> bool:
    for each in policies:  # noqa: SIM110 - a generator costs three times the loop on the hot path
        if each.needs_roles:
            return True
    return False


def _kind(request: Mapping[str, Any], facts: needs.Facts) -> tuple[str, str, str, str]:
    subresource = request.get("subResource") or ""
    kind = request["kind"]
    if subresource in policyset.SAME_KIND:
        return kind["group"], kind["version"], kind["kind"], subresource
    resource = request["resource"]
    group, version, name = facts.require(
        needs.ResourceKind(resource["group"], resource["version"], resource["resource"])
    )
    return group, version, name, subresource


def _with_roles(
    user: targets.User, request: Mapping[str, Any], facts: needs.Facts
) -> tuple[targets.User, Mapping[str, Any]]:
    """The user with their roles, and the request as expressions see it then.

    As in Kyverno a list without entries is left out, so that policies write `request.roles || ''`.
    """
    try:
        found: needs.Roles = facts.require(needs.UserRoles(user.name, user.groups, request.get("namespace") or ""))
    except errors.EvaluationError as error:
        unknown = _Unknown(str(error))
        return targets.User(user.name, user.groups, unknown, unknown), _Untold(request, str(error))
    told = dict(request)
    for name, held in zip(_ROLES, found, strict=True):
        told.pop(name, None)  # what the review itself claims does not count
        if held:
            told[name] = list(held)
    return targets.User(user.name, user.groups, found.roles, found.cluster_roles), told


def _namespace_labels(namespace: str, facts: needs.Facts) -> Mapping[str, str]:
    try:
        labels: Mapping[str, str] = facts.require(needs.NamespaceLabels(namespace))
    except errors.EvaluationError as error:
        return _Unknown(str(error))
    return labels
