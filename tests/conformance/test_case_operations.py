"""Operations do what chainsaw's do: a case that passes here has to pass there."""

import pytest

from conformance import folders, operations, outside, reasons, running, scopes, table
from kymograph.cli import run as run_command
from kymograph.localcluster import errors

TIMES = {"apply": 20.0, "assert": 0.3, "error": 0.3, "delete": 0.3, "exec": 1.0}


class Objects:
    """An API server of ConfigMaps in one namespace.

    Attributes:
        stored: By name.
        refusals: How often a deletion is still refused.
        returns: Names that are there again at once after a deletion.
    """

    def __init__(self, *names: str) -> None:
        self.stored = {name: config_map(name) for name in names}
        self.refusals = 0
        self.returns: set[str] = set()
        self.tried = 0

    def namespaced(self, _api_version, _kind):
        return True

    def get(self, _api_version, _kind, _namespace, name):
        return self.stored.get(name)

    def create(self, document):
        self.tried += 1
        if self.tried <= self.refusals:
            raise errors.RequestRefused(403, "Forbidden", "no")
        return self.stored.setdefault(document["metadata"]["name"], document)

    def delete(self, _api_version, _kind, _namespace, name, _policy):
        self.tried += 1
        if self.tried <= self.refusals:
            raise errors.RequestRefused(403, "Forbidden", "no")
        if name not in self.returns:
            del self.stored[name]


def config_map(name):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "here"}}


@pytest.fixture
def perform(tmp_path):
    """Runs an operation on some objects; what is bound is given by name."""

    def perform(objects, operation, **bindings):
        world = scopes.World(objects, tmp_path, "here", {}, 1.0, [])
        operations.run(operation, scopes.Scope(world, bindings, TIMES))
        return world.created

    return perform


def test_what_has_no_kind_is_asserted_of_what_is_bound(perform) -> None:
    tree = {"($out)": "x"}
    perform(Objects(), {"assert": {"resource": tree}}, out="x")
    with pytest.raises(scopes.OperationFailed, match="expected 'x', found 'y'"):
        perform(Objects(), {"assert": {"resource": tree}}, out="y")
    perform(Objects(), {"error": {"resource": tree}}, out="y")


def test_whatever_has_items_is_a_list(perform, tmp_path) -> None:
    """Also without a kind of its own."""
    written = "items:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n"
    (tmp_path / "listed.yaml").write_text(written)
    perform(Objects("a"), {"assert": {"file": "listed.yaml"}})
    with pytest.raises(scopes.OperationFailed, match="ConfigMap here/a: there is no such object"):
        perform(Objects("b"), {"assert": {"file": "listed.yaml"}})


def test_a_write_is_tried_until_it_is_taken(perform) -> None:
    objects = Objects()
    objects.refusals = 2
    perform(objects, {"create": {"resource": config_map("a")}})
    assert (objects.tried, list(objects.stored)) == (3, ["a"])


def test_a_deletion_is_tried_once(perform) -> None:
    objects = Objects("a")
    objects.refusals = 1
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "a"}
    with pytest.raises(scopes.OperationFailed, match="no"):
        perform(objects, {"delete": {"ref": reference}})
    objects.tried = 0
    expected = [{"check": {"($error != null)": True}}]
    perform(objects, {"delete": {"ref": reference, "expect": expected}})
    assert list(objects.stored) == ["a"]


def test_a_deletion_waits_until_the_name_is_free(perform) -> None:
    """A new object of that name is none the less there."""
    objects = Objects("a", "b")
    objects.returns = {"b"}
    perform(objects, {"delete": {"ref": {"apiVersion": "v1", "kind": "ConfigMap", "name": "a"}}})
    with pytest.raises(scopes.OperationFailed, match="b is still there"):
        perform(objects, {"delete": {"ref": {"apiVersion": "v1", "kind": "ConfigMap", "name": "b"}}})


def test_every_expectation_that_matches_counts(perform) -> None:
    """One that is about another object does not; without one that counts, a write has to succeed."""
    fails = {"check": {"($error != null)": True}}
    other = {"match": {"metadata": {"name": "b"}}, **fails}
    perform(Objects(), {"create": {"resource": config_map("a"), "expect": [other]}})
    holds = {"check": {"($error == null)": True}}
    with pytest.raises(scopes.OperationFailed, match="expected True, found False"):
        perform(Objects(), {"create": {"resource": config_map("a"), "expect": [holds, fails], "timeout": "200ms"}})


@pytest.mark.parametrize(
    ("written", "left_out"),
    [
        ("{apiVersion: policies.kyverno.io/v1, kind: ValidatingPolicy}", True),
        ("{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding}", True),
        ("{kind: ClusterPolicy, spec: {rules: [{validate: {cel: {}}}]}}", True),
        ("{kind: ClusterPolicy, spec: {rules: [{celPreconditions: []}]}}", True),
        ("{kind: ClusterPolicy, spec: {rules: [{validate: {pattern: {cel: x}}}]}}", False),
        ("{kind: ClusterRole, rules: [{apiGroups: [policies.kyverno.io]}]}", False),
    ],
)
def test_cases_in_cel_are_left_out(tmp_path, written, left_out) -> None:
    """They are known by what they name, not by where they lie."""
    (tmp_path / "a.yaml").write_text(written)
    assert bool(outside.reason(tmp_path)) is left_out


def test_folders_ask_for_flags_that_exist() -> None:
    parser = run_command.argparse.ArgumentParser(exit_on_error=False)
    run_command.configure(parser)
    for folder in folders.FOLDERS.values():
        parser.parse_args([*folders.STANDARD, *folder.flags])
        assert all(path.exists() for path in folder.definitions)


def test_the_table_tells_why_each_case_failed() -> None:
    """What is known of it, and what the run said in its first line; what was left out does not count."""
    known = next(iter(reasons.REASONS)).replace("*", "x")
    results = [
        running.Result("a/one", "passed", "", 1.0),
        running.Result("a/two", "failed", "step 1: no\nlong", 1.0),
        running.Result("a/three", "skipped", "CEL", 0.0),
        running.Result(known, "failed", "step 2: no", 1.0),
    ]
    told = list(table.lines(results))
    assert "| a | 1 | 2 | 1 |" in told
    assert "| all | 1 | 3 | 1 |" in told
    assert told[-2:] == ["- a/two: step 1: no", f"- {known}: {reasons.of(known)} (step 2: no)"]
