"""The local Worker starts, tells clearly why it cannot, and leaves nothing running."""

import os
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from worker import local

ROOT = Path(__file__).resolve().parents[2]


def healthy(url: str) -> bool:
    with urllib.request.urlopen(f"{url}/healthz", timeout=10) as answer:  # noqa: S310
        return answer.status == 200


def wait_until(condition, seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_a_worker_comes_back_on_its_port_after_a_crash_and_ends_without_a_trace(own_worker):
    with own_worker(wrangler=True) as worker:
        first, crashed = worker.pids(), worker.pid
        assert set(worker.workerd_pids()) <= set(first)
        assert worker.workerd_pids()
        url = worker.url
        worker.kill()
        assert not worker.alive()
        assert local.group_members(crashed) == {}
        worker.restart()
        assert worker.url == url
        assert healthy(url)
        group = worker.pid
    assert local.group_members(group) == {}


def test_the_worker_ends_and_its_secret_goes_when_its_parent_is_killed(tmp_path):
    code = (
        "import sys, time; from worker.local import LocalWorker\n"
        f"w = LocalWorker(0, {str(tmp_path)!r}, 'a-token-of-thirty-two-characters-'); w.start()\n"
        "print(w.pid, w._private, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        pid, private = parent.stdout.readline().split()
        group = int(pid)
        assert local.group_members(group)
        assert Path(private, "secrets.env").exists()
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        parent.stdout.close()
    assert wait_until(lambda: not local.group_members(group))
    assert not Path(private).exists()


def test_a_taken_port_is_named_together_with_the_setting_that_chooses_another(own_worker):
    with socket.socket() as other:
        other.bind((local.HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(local.LocalWorkerError, match=f"Port {port} .* RELAY_PORT"):
            own_worker(port=port).start()


def test_two_workers_cannot_use_one_data_folder(own_worker, tmp_path):
    held = local.lock_folder(tmp_path)
    with pytest.raises(local.LocalWorkerError, match="Another local Worker uses"):
        own_worker(state=tmp_path).start()
    os.close(held)


def test_a_missing_wrangler_is_named(own_worker, tmp_path):
    with pytest.raises(local.LocalWorkerError, match="wrangler is missing"):
        own_worker(worker_dir=tmp_path, wrangler=True).start()


def test_a_worker_that_cannot_start_shows_its_log_without_the_token(tmp_path, own_worker):
    (tmp_path / "node_modules").symlink_to(ROOT / "worker" / "node_modules")
    (tmp_path / "wrangler.jsonc").write_text('{"name": "broken", "main": "nowhere-secret-words.ts"}')
    worker = own_worker(worker_dir=tmp_path, token="secret-words", wrangler=True)
    with pytest.raises(local.LocalWorkerError, match="the end of the log") as caught:
        worker.start()
    assert "nowhere-***.ts" in str(caught.value)
    assert "secret-words" not in str(caught.value)
    assert worker.pids() == []


def test_a_worker_that_never_gets_healthy_is_given_up_at_the_deadline(own_worker):
    worker = own_worker(start_timeout=0.01)
    with pytest.raises(local.LocalWorkerError, match=r"within 0.01 s"):
        worker.start()
    assert worker.pids() == []


@pytest.mark.skipif(not Path("/proc/self/comm").exists(), reason="a process names itself by Linux's /proc")
def test_a_process_whose_name_is_no_text_keeps_nothing_from_its_end():
    # Linux cuts names after 15 bytes, in the middle of a character where one stands there.
    code = (
        "import time; open('/proc/self/comm', 'wb').write('fourteen-bytesü'.encode()); "
        "print(flush=True); time.sleep(600)"
    )
    named = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert named.stdout is not None
        named.stdout.readline()
        assert list(local.group_members(named.pid)) == [named.pid]
        local.end_group(named.pid)
        assert named.wait(60) == -signal.SIGTERM
    finally:
        named.kill()
        named.communicate()


def test_a_generated_token_is_private_and_stays_the_same(tmp_path):
    path = tmp_path / ".dev.vars"
    token = local.dev_token(path)
    assert len(token) > 30
    assert local.dev_token(path) == token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_token_stands_on_no_command_line(local_worker):
    pids = local_worker.pids()
    assert pids
    for pid in pids:
        assert local_worker.token.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert local_worker.token not in repr(local_worker)


def test_a_private_file_whose_writing_fails_stays_as_it_was_and_leaves_nothing_beside_it(tmp_path):
    file = tmp_path / ".dev.vars"
    local.write_private(file, "MINE=1\n")
    with pytest.raises(UnicodeEncodeError, match="codec can"):
        local.write_private(file, "MINE=1\nRELAY_TOKEN=\ud800\n")
    assert file.read_text() == "MINE=1\n"
    assert list(tmp_path.iterdir()) == [file]
