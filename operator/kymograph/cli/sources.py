"""What the arguments of a command name: files, folders, globs, standard input, and folders of git repositories.

A folder stands for the YAML and JSON files below it in order of their names, without those whose name begins with a
dot. A repository is cloned by the user's own `git`, with the user's own credentials, into a folder that is removed.
"""

import glob
import pathlib
import re
import sys
import urllib.parse
from collections.abc import Iterable, Iterator

from kymograph.cli.offline import errors, files

STDIN = "-"
SUFFIXES = (".yaml", ".yml", ".json")

_URL = re.compile(r"(?:https?|file|ssh|git)://")
_REMOTE = re.compile(r"https?://")


def split(values: Iterable[str]) -> list[str]:
    """The values of a repeatable flag, each of which may hold several, separated by commas."""
    found = []
    for value in values:
        found += [value] if pathlib.Path(value).exists() else [part for part in value.split(",") if part]
    return found


def expand(argument: str, suffixes: tuple[str, ...] = SUFFIXES) -> list[pathlib.Path]:
    """The files that an argument names, in order.

    Args:
        argument: A file, a folder or a glob (`*`, `?`, `[...]`, `**` for folders).
        suffixes: What the names of files in folders must end with.

    Raises:
        InputInvalid: There is no such file, or a glob fits none.
    """
    path = pathlib.Path(argument)
    if path.exists():
        return list(_below(path, suffixes)) if path.is_dir() else [path]
    found = sorted(glob.glob(argument, recursive=True)) if glob.has_magic(argument) else []  # noqa: PTH207 - absolute too
    if not found:
        reason = "fits no file" if glob.has_magic(argument) else "there is no such file or folder"
        raise errors.InputInvalid((errors.InputProblem(argument, 0, "", reason),))
    return [file for each in found for file in expand(each, suffixes)]


def documents(argument: str, *, strict: bool = False) -> Iterator[files.Document]:
    """The documents that an argument names, Lists taken apart.

    Args:
        argument: As for `expand`, or `-` for standard input.
        strict: Refuse a key that a map sets twice.

    Raises:
        InputInvalid: A file is missing, cannot be read or is no YAML.
    """
    if argument == STDIN:
        yield from files.parse(sys.stdin.buffer.read(), "<stdin>", strict=strict)
        return
    for path in expand(argument):
        yield from files.read(path, strict=strict)


def is_url(argument: str) -> bool:
    """Whether an argument names a repository by its URL."""
    return _URL.match(argument) is not None


def repository(argument: str, branch: str) -> "Repository | None":
    """The repository that an argument names by its URL, or by the folder of a checkout with a branch to read of it.

    Args:
        argument: Any argument.
        branch: The branch that was asked for; empty for none.

    Returns:
        The repository, not yet cloned; None where the argument names files.
    """
    if is_url(argument):
        return Repository(argument, branch)
    if branch and (pathlib.Path(argument) / ".git").exists():
        return Repository(pathlib.Path(argument).resolve().as_uri(), branch)
    return None


class Repository:
    """A clone of a git repository, for as long as the context lasts.

    Args:
        url: `https://HOST/OWNER/REPOSITORY[/BRANCH]`, or with `branch` given `[/FOLDER]`; `file://PATH` for a local
            checkout, of which `branch` is read.
        branch: The branch or tag; empty for what the URL says, else the repository's own choice.

    Raises:
        InputInvalid: The URL names no repository, or git cannot clone it.
    """

    def __init__(self, url: str, branch: str = "") -> None:
        self._url, self._branch, self._folder = _parts(url, branch)
        import tempfile  # noqa: PLC0415 - for repositories only

        self._clone = tempfile.TemporaryDirectory(prefix="kymograph-git-")

    def __enter__(self) -> pathlib.Path:
        import subprocess  # noqa: PLC0415 - for repositories only

        command = ["git", "clone", "--quiet", "--depth", "1"]
        command += ["--branch", self._branch] if self._branch else []
        try:
            done = subprocess.run(
                [*command, "--", self._url, self._clone.name], capture_output=True, text=True, check=False
            )
        except OSError as error:
            self._clone.cleanup()
            raise _unusable(self._url, f"git cannot be run: {error.strerror or error}") from error
        if done.returncode:
            self._clone.cleanup()
            raise _unusable(self._url, f"failed to clone repository ({done.stderr.strip() or done.returncode})")
        root = pathlib.Path(self._clone.name).resolve()
        folder = (root / self._folder).resolve()
        if not folder.is_relative_to(root) or not folder.exists():
            self._clone.cleanup()
            raise _unusable(self._url, f"the repository has no folder {self._folder}")
        return folder

    def __exit__(self, *_: object) -> None:
        self._clone.cleanup()


def _parts(url: str, branch: str) -> tuple[str, str, str]:
    """URL of the repository, branch and folder, as Kyverno reads them off a URL."""
    if not _REMOTE.match(url):
        return url, branch, "."
    parsed = urllib.parse.urlsplit(url)
    parts = [part for part in parsed.path.split("/") if part]
    if len(parts) < 2:
        raise _unusable(url, "expected https://HOST/OWNER/REPOSITORY[/BRANCH], or /FOLDER with --git-branch")
    repository = parsed._replace(path="/" + "/".join(parts[:2])).geturl()
    rest = "/".join(parts[2:])
    return (repository, branch, rest or ".") if branch else (repository, rest, ".")


def _below(folder: pathlib.Path, suffixes: tuple[str, ...]) -> Iterator[pathlib.Path]:
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _below(entry, suffixes)
        elif entry.suffix in suffixes:
            yield entry


def _unusable(url: str, reason: str) -> errors.InputInvalid:
    return errors.InputInvalid((errors.InputProblem(url, 0, "", reason),))
