"""Where tests are: the files of one name in a folder and all folders below it, hidden ones too.

The folder may be that of a git repository, which is cloned for as long as the tests run.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence

from kymograph.cli import sources
from kymograph.cli.offline import errors


def checkouts(arguments: Iterable[str], branch: str, clones: contextlib.ExitStack) -> tuple[list[str], dict[str, str]]:
    """Arguments with every repository in its folder's place, and what these folders are to be called.

    Args:
        arguments: Folders, files, URLs of repositories, and folders of checkouts, of which `branch` is read.
        branch: The branch or tag of repositories; empty for what their URLs say.
        clones: Removes the clones.

    Raises:
        InputInvalid: A repository cannot be cloned.
    """
    paths, names = [], {}
    for argument in arguments:
        repository = sources.repository(argument, branch)
        if repository is None:
            paths.append(argument)
            continue
        folder = str(clones.enter_context(repository))
        paths.append(folder)
        names[folder] = argument.rpartition("://")[2].rstrip("/")
    return paths, names


def find(paths: Sequence[str], file_name: str) -> list[pathlib.Path]:
    """The files of tests, in the order of the paths and sorted within each.

    Args:
        paths: Folders, or files of tests.
        file_name: The name that files of tests have.

    Raises:
        InputInvalid: A path is not there, or a folder cannot be read.
    """
    found = []
    for text in paths:
        path = pathlib.Path(text)
        try:
            found += [path] if path.is_file() else list(_below(text, file_name))
        except OSError as error:
            reason = f"cannot be read: {error.strerror or error}"
            raise errors.InputInvalid((errors.InputProblem(text, 0, "", reason),)) from error
    return found


def _below(folder: str, file_name: str) -> Iterator[pathlib.Path]:
    with os.scandir(folder) as listing:
        entries = sorted(listing, key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _below(entry.path, file_name)
        elif entry.name == file_name:
            yield pathlib.Path(entry.path)
