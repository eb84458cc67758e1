"""Builds the binary of servers from the Go module in `servers/`: once for each content of that module.

Nine minutes of a small machine are spent at most once: the binary lies in a cache outside of any checkout, under a name
that hashes the module, the flags and the platform, and whoever comes second while it is being built waits for it. No C
compiler is needed (CGO_ENABLED=0), so a cached binary runs wherever the platform is the same.
"""

import collections
import contextlib
import fcntl
import hashlib
import os
import pathlib
import platform
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from typing import IO, TextIO

from kymograph.localcluster import errors, progress, toolchain

SOURCES = pathlib.Path(__file__).with_name("servers")
"""The Go module; it is package data, so it is there in an installed wheel too."""

_KUBERNETES = re.compile(r"^\s*k8s\.io/kubernetes (v(\d+)\.(\d+)\.\S+)$", re.MULTILINE)
_STAMPED = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")  # /version, and the clients' user agents
_ENVIRONMENT = {"CGO_ENABLED": "0", "GOFLAGS": "", "GOTOOLCHAIN": "local", "GOWORK": "off"}
_LEFT_OUT = ("GOROOT", "GOOS", "GOARCH")


def cache_directory(environ: Mapping[str, str]) -> pathlib.Path:
    """Where binaries are kept: KYMOGRAPH_CACHE_DIR, or `kymograph` in XDG_CACHE_HOME or in `~/.cache`."""
    if own := environ.get("KYMOGRAPH_CACHE_DIR"):
        return pathlib.Path(own)
    home = environ.get("XDG_CACHE_HOME") or pathlib.Path(environ.get("HOME", "~")).expanduser() / ".cache"
    return pathlib.Path(home) / "kymograph"


def flags(sources: pathlib.Path = SOURCES) -> tuple[str, ...]:
    """The flags of `go build`; the version that go.mod names is linked in, as Kubernetes' own build does."""
    match = _KUBERNETES.search((sources / "go.mod").read_text())
    if match is None:
        raise errors.BuildFailed(f"{sources / 'go.mod'} requires no k8s.io/kubernetes")
    stamps = {"gitVersion": match[1], "gitMajor": match[2], "gitMinor": match[3], "gitCommit": "", "gitTreeState": ""}
    linked = " ".join(f"-X {package}.{name}={value}" for package in _STAMPED for name, value in stamps.items())
    return ("-trimpath", "-buildvcs=false", "-mod=readonly", f"-ldflags=-s -w {linked}")


def cache_key(sources: pathlib.Path = SOURCES) -> str:
    """A hash of all that the binary depends on but the Go version: names and contents of files, flags, platform."""
    hashed = hashlib.sha256()
    parts = [*flags(sources), *(f"{name}={value}" for name, value in _ENVIRONMENT.items())]
    parts += [platform.system(), platform.machine()]
    for path in sorted(path for path in sources.rglob("*") if path.is_file()):
        parts += [path.relative_to(sources).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()]
    for part in parts:
        hashed.update(part.encode() + b"\0")
    return hashed.hexdigest()[:24]


def binary(
    environ: Mapping[str, str] = os.environ, sources: pathlib.Path = SOURCES, out: TextIO | None = None
) -> pathlib.Path:
    """The binary of servers, built now if the cache does not have it.

    Args:
        environ: Names the cache and the PATH that `go` is searched on.
        sources: The Go module.
        out: Where progress is shown; None is standard error.

    Raises:
        ToolchainMissing: There is no Go to build it with.
        BuildFailed: Go ended with an error.
    """
    cache = cache_directory(environ)
    target = cache / f"localcluster-{cache_key(sources)}"
    if target.exists():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    shown = progress.Progress(out)
    with _lock(cache / "build.lock", shown):
        if not target.exists():  # whoever held the lock before may have built it
            _build(sources, target, environ, shown)
    return target


@contextlib.contextmanager
def _lock(path: pathlib.Path, shown: progress.Progress) -> Iterator[None]:
    """Holds the cache for this process; the kernel lets go of it when the process ends, however it ends."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            shown.say("Another process is building the servers: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(sources: pathlib.Path, target: pathlib.Path, environ: Mapping[str, str], shown: progress.Progress) -> None:
    needed = toolchain.parse_version((sources / "go.mod").read_text())
    if needed is None:
        raise errors.BuildFailed(f"{sources / 'go.mod'} names no Go version")
    go = toolchain.find(needed, target.parent, environ, shown)
    environ = {name: value for name, value in environ.items() if name not in _LEFT_OUT} | _ENVIRONMENT
    shown.say(f"Building the control plane's servers with {go}; this happens once and takes 5 to 10 minutes")
    listing = _Run([str(go), "list", "-mod=readonly", "-deps", "."], sources, environ)
    packages = listing.finish(lambda: shown.show(f"downloading modules: {listing.progress}"))
    part = target.with_suffix(".part")
    building = _Run([str(go), "build", "-v", *flags(sources), "-o", str(part), "."], sources, environ)
    building.finish(lambda: shown.show(f"compiling: {building.progress} of {packages} packages"))
    part.replace(target)
    shown.say(f"Built {target} ({target.stat().st_size / 1e6:.0f} MB)")


class _Run:
    """A run of `go`, followed line by line.

    Attributes:
        progress: Lines on standard error so far: `go` writes one for each module it downloads and, with `-v`, for
            each package it compiles.
    """

    def __init__(self, argv: list[str], directory: pathlib.Path, environ: Mapping[str, str]) -> None:
        self.progress = 0
        self._last: collections.deque[str] = collections.deque(maxlen=20)
        self._printed = 0
        self._argv = argv
        self._process = subprocess.Popen(
            argv, cwd=directory, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def finish(self, tick: collections.abc.Callable[[], None]) -> int:
        """Waits for the end, calling `tick` twice a second, and returns the number of lines on standard output.

        Raises:
            BuildFailed: With the last lines of standard error.
        """
        assert self._process.stdout is not None  # noqa: S101 - both are pipes, by the constructor
        assert self._process.stderr is not None  # noqa: S101 - as above
        readers = [
            threading.Thread(target=self._count_output, args=(self._process.stdout,), daemon=True),
            threading.Thread(target=self._follow_errors, args=(self._process.stderr,), daemon=True),
        ]
        try:
            for reader in readers:
                reader.start()
            while any(reader.is_alive() for reader in readers):
                tick()
                readers[0].join(0.25)
                readers[1].join(0.25)
            status = self._process.wait()
        except BaseException:
            self._process.send_signal(signal.SIGINT)  # upon which `go` removes its temporary files
            self._process.wait()
            raise
        finally:
            self._process.stdout.close()
            self._process.stderr.close()
        if status != 0:
            raise errors.BuildFailed(f"{' '.join(self._argv[:2])} ended with status {status}:\n" + "".join(self._last))
        return self._printed

    def _count_output(self, lines: IO[str]) -> None:
        for _ in lines:
            self._printed += 1

    def _follow_errors(self, lines: IO[str]) -> None:
        for line in lines:
            self.progress += 1
            self._last.append(line)
