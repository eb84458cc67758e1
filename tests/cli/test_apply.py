"""`kymograph apply` says what `kyverno apply` says, and ends as it ends; the texts were taken down from v1.19.1."""

import io
import json
import pathlib
import subprocess
import sys

import pytest

from kymograph.apimachinery import yamls
from kymograph.cli import main
from kymograph.cli.applying import stream

POLICY = """
apiVersion: kyverno.io/v1
kind: ClusterPolicy
metadata:
  name: no-latest
  annotations: {policies.kyverno.io/category: Images, policies.kyverno.io/severity: high%(annotation)s}
spec:
  validationFailureAction: %(action)s
  rules:
  - name: tag
    match: {any: [{resources: {kinds: [Pod]}}]}
    validate:
      message: use a fixed tag
      pattern: {spec: {containers: [{image: '!*:latest'}]}}
"""
MUTATION = """
apiVersion: kyverno.io/v1
kind: ClusterPolicy
metadata: {name: add-label}
spec:
  rules:
  - name: add
    match: {any: [{resources: {kinds: [Pod]}}]}
    mutate: {patchStrategicMerge: {metadata: {labels: {on: "{{ request.operation }}"}}}}
"""


def pod(name, image, **metadata):
    spec = {"containers": [{"name": "c", "image": image}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": spec}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a policy and two Pods, one of which breaks it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.yaml").write_text(POLICY % {"action": "Audit", "annotation": ""})
    (tmp_path / "unscored.yaml").write_text(
        POLICY % {"action": "Audit", "annotation": ", policies.kyverno.io/scored: 'false'"}
    )
    (tmp_path / "mutation.yaml").write_text(MUTATION)
    (tmp_path / "pods.yaml").write_text(
        f"{json.dumps(pod('good', 'a:1'))}\n---\n{json.dumps(pod('bad', 'a:latest'))}\n"
    )
    (tmp_path / "good.yaml").write_text(json.dumps(pod("good", "a:1")))
    return tmp_path


@pytest.fixture
def apply(capsys):
    def call(*arguments):
        status = main.main(["apply", *map(str, arguments)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


FAILURE = """
Applying 3 policy rule(s) to 2 resource(s)...
policy no-latest -> resource default/Pod/bad failed:
1 - tag validation error: use a fixed tag. rule tag failed at path /spec/containers/0/image/

pass: 1, fail: 1, warn: 0, error: 0, skip: 0\x20
"""


def test_failures_are_told_and_end_with_1(folder, apply):
    assert apply("policy.yaml", "--resource", "pods.yaml") == (1, FAILURE, "")


def test_what_passes_ends_with_0(folder, apply):
    status, out, _ = apply("policy.yaml", "-r", "good.yaml")
    assert status == 0
    assert out.endswith("pass: 1, fail: 0, warn: 0, error: 0, skip: 0 \n")


@pytest.mark.parametrize("flags", [["--audit-warn", "policy.yaml"], ["unscored.yaml"]])
def test_failures_that_are_warnings_end_as_asked(folder, apply, flags):
    status, out, _ = apply(*flags, "-r", "pods.yaml", "--warn-exit-code", "7")
    assert status == 7
    assert "pass: 1, fail: 0, warn: 1, error: 0, skip: 0 \nexit as warnExitCode is 7" in out
    assert ("failed as audit warning:" in out) == ("--audit-warn" in flags)
    assert apply(*flags, "-r", "pods.yaml")[0] == 0


def test_nothing_that_passes_can_be_a_warning(folder, apply):
    (folder / "map.yaml").write_text("kind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\n")
    status, out, _ = apply("policy.yaml", "-r", "map.yaml", "--warn-no-pass", "--warn-exit-code", "4")
    assert status == 4
    assert out.endswith("skip: 0 \nexit as no objects satisfied policy\n")


def test_folders_globs_lists_and_standard_input_are_read(folder, apply, monkeypatch):
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "a.json").write_text(json.dumps({"kind": "List", "items": [pod("a", "a:latest")]}))
    (folder / "deep" / ".hidden.yaml").write_text("kind: [")
    assert "to 3 resource(s)" in apply("policy.yaml", "-r", "deep", "-r", "p*s.yaml")[1]
    assert "to 3 resource(s)" in apply("policy.yaml", "-r", "deep,pods.yaml")[1]
    text = (folder / "pods.yaml").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert apply("policy.yaml", "-r", "-") == (1, FAILURE, "")


def test_a_branch_of_a_local_checkout_is_read(folder, apply, tmp_path):
    checkout = tmp_path / "checkout"
    (checkout / "rules").mkdir(parents=True)
    git = ["git", "-C", str(checkout), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "-q", "-b", "main"], check=True)
    (checkout / "rules" / "p.yaml").write_text((folder / "policy.yaml").read_text())
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "a"], check=True)
    (checkout / "rules" / "p.yaml").unlink()
    assert apply(checkout, "-b", "main", "-r", "pods.yaml")[1] == FAILURE
    assert apply(checkout.as_uri(), "-r", "pods.yaml")[1] == FAILURE
    assert "failed to clone repository" in apply(checkout, "-b", "absent", "-r", "pods.yaml")[2]


def rule(name, **body):
    """A ClusterPolicy with one rule about ConfigMaps."""
    match = {"any": [{"resources": {"kinds": ["ConfigMap"]}}]}
    spec = {"rules": [{"name": "r", "match": match, **body}]}
    return {"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": name}, "spec": spec}


TRIGGER = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "trigger", "namespace": "shop"}}


def test_existing_objects_are_patched_and_printed(folder, apply):
    target = {"apiVersion": "v1", "kind": "Secret", "namespace": "shop", "name": "s*"}
    labels = {"hit": "{{ request.object.metadata.name }}-{{ target.metadata.name }}"}
    patch = {"metadata": {"labels": labels}}
    policy = rule("touch", mutate={"targets": [target], "patchStrategicMerge": patch})
    (folder / "touch.yaml").write_text(json.dumps(policy))
    (folder / "trigger.yaml").write_text(json.dumps(TRIGGER))
    secrets = [{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "shop"}} for name in "sx"]
    (folder / "secrets.yaml").write_text("\n---\n".join(map(json.dumps, secrets)))
    status, out, _ = apply("touch.yaml", "-r", "trigger.yaml", "--target-resource", "secrets.yaml")
    assert status == 0
    assert "patched targets: \n" in out
    assert "    hit: trigger-s\n  name: s\n" in out
    assert "pass: 1, fail: 0, warn: 0, error: 0, skip: 0" in out
    _, out, _ = apply("touch.yaml", "-r", "trigger.yaml", "--target-resource", "secrets.yaml", "--stdin")
    assert [each.value["kind"] for each in yamls.load_all(out, "piped") if each.value] == ["ConfigMap", "Secret"]


def test_values_stand_for_a_config_map_that_is_not_among_the_objects(folder, apply):
    context = [{"name": "c", "configMap": {"name": "limits", "namespace": "shop"}}]
    condition = {"key": "{{ c.data.most }}", "operator": "Equals", "value": "5"}
    policy = rule("limit", context=context, validate={"deny": {"conditions": {"any": [condition]}}})
    (folder / "limit.yaml").write_text(json.dumps(policy))
    (folder / "trigger.yaml").write_text(json.dumps(TRIGGER))
    _, out, _ = apply("limit.yaml", "-r", "trigger.yaml", "-s", "c.data.most=5")
    assert "pass: 0, fail: 1, warn: 0, error: 0, skip: 0" in out
    _, out, _ = apply("limit.yaml", "-r", "trigger.yaml")
    assert "pass: 0, fail: 0, warn: 0, error: 1, skip: 0" in out


def test_changed_objects_are_printed_or_written(folder, apply):
    status, out, _ = apply("mutation.yaml", "-r", "good.yaml", "-s", "request.operation=UPDATE")
    assert status == 0
    assert "\npolicy add-label applied to default/Pod/good:\n" in out
    assert '    "true": UPDATE\n' in out
    assert "\n\nMutation:\nMutation has been applied successfully." in out
    apply("mutation.yaml", "-r", "good.yaml", "-o", "made")
    written = (folder / "made" / "good-mutated.yaml").read_text()
    assert yamls.load_all(written, "made")[0].value["metadata"]["labels"] == {"true": "CREATE"}
    apply("mutation.yaml", "-r", "pods.yaml", "-o", "one/all.yaml")
    assert len(yamls.load_all((folder / "one" / "all.yaml").read_text(), "all")) == 2
    _, out, err = apply("mutation.yaml", "-r", "good.yaml", "--stdin")
    assert [each.value["kind"] for each in yamls.load_all(out, "piped")] == ["Pod"]
    assert "pass: 1" in err


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_reports_are_openreports(folder, apply, form):
    status, out, _ = apply("policy.yaml", "-r", "pods.yaml", "--policy-report", "--output-format", form)
    (loaded,) = yamls.load_all(out, "report")
    report = loaded.value
    assert status == 1
    assert (report["apiVersion"], report["kind"]) == ("openreports.io/v1alpha1", "ClusterReport")
    assert report["metadata"] == {"name": "merged"}
    assert report["summary"] == {"pass": 1, "fail": 1, "warn": 0, "error": 0, "skip": 0}
    good, bad = report["results"]
    assert good["result"] == "pass"
    assert bad.pop("timestamp")["nanos"] == 0
    assert bad == {
        "source": "kyverno",
        "policy": "no-latest",
        "rule": "tag",
        "result": "fail",
        "message": "validation error: use a fixed tag. rule tag failed at path /spec/containers/0/image/",
        "scored": True,
        "category": "Images",
        "severity": "high",
        "properties": {"process": "background scan"},
        "resources": [{"apiVersion": "v1", "kind": "Pod", "name": "bad", "namespace": "default"}],
    }


def test_the_table_has_a_row_for_each_result(folder, apply):
    _, out, _ = apply("policy.yaml", "-r", "pods.yaml", "--table")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if "│ " in line]
    assert rows == [
        ["ID", "POLICY", "RULE", "RESOURCE", "RESULT", "REASON"],
        ["1", "no-latest", "tag", "default/Pod/good", "Pass", ""],
        ["2", "no-latest", "tag", "default/Pod/bad", "Fail", ""],
    ]
    assert "MESSAGE" in apply("policy.yaml", "-r", "pods.yaml", "--table", "--detailed-results")[1]


def test_exceptions_that_were_generated_let_the_object_through(folder, apply):
    _, out, _ = apply("policy.yaml", "-r", "pods.yaml", "--generate-exceptions")
    (folder / "exception.yaml").write_text(out)
    assert '"cleanup.kyverno.io/ttl": 720h0m0s' in out or "cleanup.kyverno.io/ttl: 720h0m0s" in out
    status, out, _ = apply("policy.yaml", "-r", "pods.yaml", "--exception", "exception.yaml")
    assert status == 0
    assert "with 1 exception(s)..." in out
    assert "pass: 1, fail: 0, warn: 0, error: 0, skip: 1 " in out
    (folder / "both.yaml").write_text((folder / "pods.yaml").read_text() + (folder / "exception.yaml").read_text())
    assert apply("policy.yaml", "-r", "both.yaml", "--exceptions-with-resources")[0] == 0


def test_policies_that_are_refused_are_listed_and_count_as_errors(folder, apply):
    (folder / "broken.yaml").write_text((folder / "policy.yaml").read_text().replace("!*:latest", "{{ a. }}"))
    status, out, _ = apply("broken.yaml", "-r", "good.yaml")
    assert status == 1
    assert "Policies Skipped:\n1. no-latest: " in out
    assert out.endswith("error: 1, skip: 0 \n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-r", "pods.yaml"], "require policy"),
        (["policy.yaml"], "resource file(s) or cluster required"),
        (["-", "-r", "-"], "a stdin pipe can be used for either policies or resources, not both"),
        (
            ["policy.yaml", "-r", "pods.yaml", "-s", "a=b", "-f", "v"],
            "pass the values either using set flag or values_file",
        ),
        (["absent", "-r", "pods.yaml"], "absent: there is no such file or folder"),
        (["policy.yaml", "-r", "abs*"], "abs*: fits no file"),
        (["policy.yaml", "-r", "pods.yaml", "-f", "absent"], "absent: cannot be read"),
        (["policy.yaml", "-r", "pods.yaml", "-e", "policy.yaml"], "policy.yaml:2: "),
        (["policy.yaml", "-c", "--kubeconfig", "absent"], "absent"),
    ],
)
def test_mistakes_are_told_in_a_sentence(folder, apply, arguments, message):
    status, out, err = apply(*arguments)
    assert status == 1
    assert out == ""
    assert err.startswith("Error: ")
    assert message in err


def test_several_processes_give_what_one_gives(folder, apply, monkeypatch):
    monkeypatch.setattr(stream, "BLOCK", 4_000)
    many = [pod(f"p{number}", "a:latest" if number % 7 == 0 else "a:1") for number in range(300)]
    (folder / "many.yaml").write_text("---\n".join(f"{json.dumps(each)}\n" for each in many))
    alone = apply("policy.yaml", "mutation.yaml", "-r", "many.yaml", "--jobs", "1")
    assert apply("policy.yaml", "mutation.yaml", "-r", "many.yaml", "--jobs", "3") == alone
    assert "fail: 43" in alone[1]
    with (folder / "many.yaml").open("a") as file:
        file.write("---\nkind: [\n")
    status, _, err = apply("policy.yaml", "-r", "many.yaml", "--jobs", "3")
    assert status == 1
    assert err.startswith("Error: many.yaml:")


def test_start_needs_none_of_the_operators_libraries():
    """`kymograph apply` starts in a fraction of a second because of it."""
    code = (
        "import sys; from kymograph.cli import main, apply\n"
        "print([name for name in sys.modules if name.split('.')[0] in "
        "{'kopf', 'aiohttp', 'opentelemetry', 'rich', 'cryptography', 'grpc', 'kubernetes', 'asyncio'}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_names_of_written_files_stay_in_the_folder(folder, apply):
    (folder / "odd.yaml").write_text(json.dumps(pod("../../escaped", "a:1")))
    apply("mutation.yaml", "-r", "odd.yaml", "-o", "made")
    assert [path.parent for path in folder.rglob("*escaped*")] == [pathlib.Path(folder / "made")]
