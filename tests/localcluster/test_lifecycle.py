"""A local cluster stands fast, says why when it does not, and leaves nothing behind, however it ends."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import textwrap
import time
import types

import pytest

from kymograph.localcluster import binaries, errors, options, ports, servers
from kymograph.localcluster import cluster as localcluster
from support import processes, waiting

PARENT = textwrap.dedent(
    """
    import json, sys
    from kymograph.localcluster import cluster
    made = cluster.LocalCluster()
    made.start()
    print(json.dumps({"directory": str(made.directory), "pids": made.pids}), flush=True)
    sys.stdin.read()
    """
)


@pytest.mark.usefixtures("cluster")
def test_stands_and_stops_in_seconds_beside_another(capsys):
    """Under 10 s, on a machine that does nothing else; here other work shares it, so that only the figure is told."""
    second = localcluster.LocalCluster()
    started = time.monotonic()
    second.start()
    stands = time.monotonic() - started
    directory, pids = second.directory, second.pids
    memory = {name: processes.resident_mebibytes(pid) for name, pid in pids.items()}
    started = time.monotonic()
    second.stop()
    stops = time.monotonic() - started
    with capsys.disabled():
        print(f"\nstands in {stands:.2f} s, stops in {stops:.2f} s; resident MiB: {memory}")  # noqa: T201 - the figures are wanted
    assert len(pids) == 6
    assert not any(processes.running(pid) for pid in pids.values()), "no process outlives its cluster"
    assert not directory.exists(), "no file outlives its cluster"
    second.stop()  # harmless


@pytest.mark.usefixtures("cluster")
def test_nothing_outlives_a_killed_parent():
    """SIGKILL leaves it no moment to clean up: its supervisor sees the pipe close and does."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", PARENT], text=True, **pipes) as parent:
        made = json.loads(parent.stdout.readline())
        directory, pids = pathlib.Path(made["directory"]), made["pids"]
        assert all(processes.running(pid) for pid in pids.values())
        parent.kill()
    waiting.until("all are gone", lambda: not any(processes.running(pid) for pid in pids.values()), timeout=120)
    waiting.until("its files are gone", lambda: not directory.exists())


@pytest.mark.usefixtures("cluster")
def test_no_server_outlives_a_killed_supervisor():
    """The kernel kills them; the files go when the cluster is stopped."""
    with localcluster.LocalCluster() as made:
        pids = made.pids
        os.kill(pids.pop("supervisor"), signal.SIGKILL)
        waiting.until("all are gone", lambda: not any(processes.running(pid) for pid in pids.values()))
    assert not made.directory.exists()


def test_a_server_that_cannot_start_is_named_with_its_last_words(cluster):
    broken = localcluster.LocalCluster(options.Options(apiserver_flags=("--no-such-flag",)))
    with pytest.raises(errors.ServerFailed, match=r"kube-apiserver ended with status 1(.|\n)*unknown flag") as failed:
        broken.start()
    assert failed.value.server == "kube-apiserver"
    assert not broken.directory.exists()
    assert broken.pids == {}


def test_a_binary_that_is_not_there_is_named():
    nothing = ("/nonexistent/server",)
    broken = localcluster.LocalCluster(found=servers.Binaries(nothing, nothing, None, None, None))
    with pytest.raises(errors.ServerFailed, match=r"etcd .*\n.*No such file"):
        broken.start()
    assert not broken.directory.exists()


def test_a_cluster_that_does_not_become_ready_says_what_it_waited_for(monkeypatch):
    """And stops servers that hide behind a wrapper script. An hour passes when it waits for the last of them."""
    found = servers.Binaries(
        etcd=("/bin/sh", "-c", "touch etcd.sock; sleep 600; true"),
        kube_apiserver=("/bin/sh", "-c", "echo still thinking; sleep 600; true"),
        kube_controller_manager=None,
        kube_scheduler=None,
        kwok=None,
    )
    late = localcluster.LocalCluster(found=found)

    def an_hour_late_in_the_end():
        logs = late.directory.glob("kube-apiserver.log") if hasattr(late, "directory") else ()
        return time.monotonic() + 3600 * any("still thinking" in each.read_text() for each in logs)

    clock = types.SimpleNamespace(monotonic=an_hour_late_in_the_end, sleep=time.sleep)
    monkeypatch.setattr(localcluster, "time", clock)
    with pytest.raises(errors.StartTimeout, match=r"the API server is ready(.|\n)*still thinking"):
        late.start()
    assert not late.directory.exists()
    waiting.until("what the scripts began has ended", lambda: processes.working_in(late.directory) == [])


@pytest.fixture
def assets(tmp_path):
    """A directory as KUBEBUILDER_ASSETS names it: etcd and kube-apiserver."""
    found = binaries.find()
    for name, argv in (("etcd", found.etcd), ("kube-apiserver", found.kube_apiserver)):
        script = tmp_path / name
        script.write_text(f'#!/bin/sh\nexec {" ".join(argv)} "$@"\n')
        script.chmod(0o755)
    return tmp_path


@pytest.mark.usefixtures("cluster")
def test_assets_of_kubebuilder_are_used_as_far_as_they_go(assets):
    """Without controller manager, scheduler and kwok: Pods need no service account, and stay pending."""
    pod = {"metadata": {"name": "web"}, "spec": {"containers": [{"name": "web", "image": "registry.example/web:1"}]}}
    found = binaries.find({"KUBEBUILDER_ASSETS": str(assets)})
    with localcluster.LocalCluster(found=found) as small:
        assert set(small.pids) == {"supervisor", "etcd", "kube-apiserver"}
        created = small.api.request("POST", "/api/v1/namespaces/default/pods", pod)
        assert created["status"]["phase"] == "Pending"


@pytest.mark.parametrize(("present", "missing"), [((), "etcd"), (("etcd",), "kube-apiserver")])
def test_assets_without_a_server_that_matters_are_refused(tmp_path, present, missing):
    for name in present:
        (tmp_path / name).touch(0o755)
    with pytest.raises(errors.AssetsInvalid, match=missing):
        binaries.find({"KUBEBUILDER_ASSETS": str(tmp_path)})


def test_a_reserved_port_goes_to_nobody_who_does_not_share():
    """Neither to a server that binds it for itself nor, as a free one, to another reservation."""
    reservations = [ports.Reservation() for _ in range(50)]
    assert len({reservation.port for reservation in reservations}) == 50
    port = reservations[0].port
    with socket.socket() as taker, pytest.raises(OSError, match="in use"):
        taker.bind(("127.0.0.1", port))
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind(("127.0.0.1", port))
    for reservation in reservations:
        reservation.release()
    released = [reservation.port for reservation in reservations]
    assert any(map(_can_be_bound, released)), "others may take one of them first, not all"


def _can_be_bound(port):
    with socket.socket() as taker:
        try:
            taker.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def test_a_port_that_is_kept_goes_to_whoever_names_it_and_to_nobody_else():
    """Before a server listens there, and after: to one at a time."""
    port = ports.keep()
    assert port not in {ports.keep() for _ in range(50)}
    with socket.socket() as other, pytest.raises(ConnectionRefusedError):
        other.connect(("127.0.0.1", port))
    for _ in range(2):
        with socket.create_server(("127.0.0.1", port)), pytest.raises(OSError, match="in use"):
            socket.create_server(("127.0.0.1", port))


@pytest.mark.usefixtures("cluster")
def test_the_api_server_can_be_restarted():
    """On the same port, with the same data; nobody else can have the port while it is down."""
    with localcluster.LocalCluster() as local:
        local.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": "kept"}})
        before = local.pids["kube-apiserver"]
        local.stop_api_server()
        assert not processes.running(before)
        with socket.socket() as other, pytest.raises(OSError, match="Address already in use"):
            other.bind(("127.0.0.1", int(local.url.rpartition(":")[2])))
        with pytest.raises(OSError):  # noqa: PT011 - refused or reset
            local.api.request("GET", "/readyz")
        local.start_api_server()
        assert local.api.request("GET", "/api/v1/namespaces/kept")["metadata"]["name"] == "kept"
        assert local.pids["kube-apiserver"] != before
