"""A certificate and its key get into a context by way of a file that is never left behind."""

import contextlib
import datetime as dt
import os
import pathlib
import ssl
import tempfile

import pytest
from cryptography.hazmat.primitives import serialization

from kymograph.keypairs import issuing, presenting

NOW = dt.datetime.now(dt.UTC)
AUTHORITY = issuing.found("authority", NOW, dt.timedelta(days=1))
PAIR = AUTHORITY.client("alice", (), NOW, dt.timedelta(days=1))
OTHER = AUTHORITY.client("bob", (), NOW, dt.timedelta(days=1))


@pytest.fixture(params=[True, False], ids=["in memory", "in a file"])
def folder(request, monkeypatch, tmp_path):
    """Where temporary files are; with a kernel that has files in memory, and with one that has not."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if not request.param:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    return tmp_path


def open_files(folder: pathlib.Path) -> list[str]:
    """Those in memory that the process has open, and those in a folder: others are opened and closed by any thread."""
    found = []
    for descriptor in pathlib.Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(descriptor.readlink()))
    return [each for each in found if each.startswith(("/memfd:", f"{folder}/"))]


def test_presented(folder):
    """The pair is taken, and nothing of it stays."""
    presenting.present(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), PAIR.certificate, PAIR.key)
    assert not list(folder.iterdir())
    assert open_files(folder) == []


def encrypted() -> bytes:
    """The key of the pair, under a password."""
    key = serialization.load_pem_private_key(PAIR.key, None)
    hidden = serialization.BestAvailableEncryption(b"secret")
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)


@pytest.mark.parametrize(
    ("certificate", "key"),
    [(PAIR.certificate, OTHER.key), (b"", PAIR.key), (PAIR.certificate, b"no PEM"), (PAIR.certificate, encrypted())],
    ids=["another's key", "no certificate", "no key", "an encrypted key"],
)
def test_refused(folder, certificate, key):
    """What OpenSSL cannot use is refused, without asking a terminal for a password, and nothing of it stays."""
    with pytest.raises(OSError, match=r"\S"):
        presenting.present(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), certificate, key)
    assert not list(folder.iterdir())
