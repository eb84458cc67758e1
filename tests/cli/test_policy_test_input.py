"""Whatever is in the files of a test: an error that names file, line, field and fix, and never a traceback."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support import offline


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"manifest": offline.MANIFEST.replace("resources: [pods.yaml]", "resourcs: [pods.yaml]")},
            "kyverno-test.yaml:7: resourcs: unknown field; did you mean 'resources'?",
        ),
        (
            {"manifest": offline.MANIFEST.replace("result: fail", "result: failed")},
            "kyverno-test.yaml:18: results[1].result: 'failed' is not one of pass, fail, skip, warn, error",
        ),
        (
            {"manifest": offline.MANIFEST.replace("kind: Test", "")},
            "kyverno-test.yaml: kind: is required: Test",
        ),
        (
            {"manifest": offline.MANIFEST + "variables: values.yaml\n", "values": "kind: Values\nglobalValue: {}\n"},
            "values.yaml:2: globalValue: unknown field; did you mean 'globalValues'?",
        ),
        (
            {
                "manifest": offline.MANIFEST + "userinfo: user.yaml\n",
                "user": "apiVersion: a\nkind: UserInfo\nrole: []\n",
            },
            "user.yaml:3: role: unknown field; did you mean 'roles'?",
        ),
        (
            {
                "manifest": offline.MANIFEST + "context: context.yaml\n",
                "context": "apiVersion: a\nkind: Context\nspec:\n  image: []\n",
            },
            "context.yaml:4: spec.image: unknown field; did you mean 'images'?",
        ),
        (
            {"policy": offline.POLICY.replace("message:", "message: a\n        message:")},
            "policy.yaml:15: key 'message' already set in map",
        ),
        (
            {"manifest": offline.MANIFEST + "userinfo: user.yaml\n", "user": "kind: a\nkind: b\n"},
            "user.yaml:2: key 'kind' already set in map",
        ),
        (
            {"manifest": offline.MANIFEST + "variables: values.yaml\n", "values": "globalValues: {a: b, a: c}\n"},
            "values.yaml:1: key 'a' already set in map",
        ),
        ({"pods": "a: b: c\n"}, "pods.yaml:1: mapping values are not allowed"),
        ({"pods": "kind: Pod\nmetadata: []\n"}, "pods.yaml:2: metadata: must be an object"),
        ({"pods": "apiVersion: v1\nkind: Pod\nmetadata:\n  name: 1\n"}, "pods.yaml:4: metadata.name: must be text"),
        ({"policy": offline.POLICY.replace("message:", "mesage:")}, "spec.rules[0].validate.mesage: unknown field"),
        (
            {"manifest": offline.MANIFEST.replace("pods.yaml", "absent.yaml")},
            "absent.yaml: cannot be read: No such file or directory",
        ),
    ],
)
def test_a_mistake_is_named_by_file_line_and_field(run, tmp_path, files, said) -> None:
    """With the fix where one suggests itself."""
    ran = run("test", offline.write(tmp_path, **files))
    assert ran.status == 1
    error = next(line for line in ran.err.splitlines() if said.split(":")[-1].strip()[:20] in line)
    assert error.startswith("Error: ")
    assert said.partition(": ")[2] in error
    assert "Traceback" not in ran.err + ran.out


def test_a_key_set_twice_in_a_resource_is_what_it_was_set_to_last(tested, tmp_path) -> None:
    """As API servers read it; what is written for policies alone is read strictly."""
    offline.write(tmp_path, pods=offline.PODS.replace("{team: blue}", "{team: '', team: blue}"))
    assert [row[3] for row in tested(tmp_path)] == ["Pass", "Pass"]


def test_one_broken_test_does_not_keep_the_others_from_running(run, tmp_path) -> None:
    """Its error is said, the rows of the others are there."""
    offline.write(tmp_path / "a", pods="[")
    offline.write(tmp_path / "b")
    ran = run("test", tmp_path)
    assert ran.status == 1
    assert "2 tests passed" in ran.out
    assert f"Error: {tmp_path}/a/pods.yaml:" in ran.err


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["kind", "metadata", "name", "spec", "results", "policies", "values", "policy", "resources"]
            )
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(document=JSON, where=st.sampled_from(["manifest", "policy", "pods", "values", "user"]))
def test_no_document_makes_a_traceback(run, tmp_path, document, where) -> None:
    """In any of the files: the command ends with 0 or 1 and without an internal error."""
    import json

    manifest = offline.MANIFEST + "variables: values.yaml\nuserinfo: user.yaml\n"
    plain = {
        "values": "apiVersion: a\nkind: Values\n",
        "user": "apiVersion: a\nkind: UserInfo\nuserInfo: {username: a}\n",
        "manifest": manifest,
    }
    offline.write(tmp_path, **{**plain, where: json.dumps(document)})
    ran = run("test", tmp_path)
    assert ran.status in (0, 1)
    assert "internal error" not in ran.err + ran.out
    assert "Traceback" not in ran.err + ran.out
