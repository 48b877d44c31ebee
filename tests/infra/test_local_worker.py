"""The local Worker starts, tells clearly why it cannot, and leaves nothing running."""

import signal
import stat
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from do_bridge.relay import RelayError, envfile, processes, tokens

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
        assert processes.group_members(crashed) == {}
        worker.restart()
        assert worker.url == url
        assert healthy(url)
        group = worker.pid
    assert processes.group_members(group) == {}


def test_the_worker_ends_and_its_secret_goes_when_its_parent_is_killed(tmp_path):
    code = (
        "import sys, time; from do_bridge.relay import LocalRelay\n"
        f"w = LocalRelay({str(tmp_path)!r}); w.start()\n"
        "print(w.pid, w._private, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        pid, private = parent.stdout.readline().split()
        group = int(pid)
        assert processes.group_members(group)
        assert Path(private, "secrets.env").exists()
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        parent.stdout.close()
    assert wait_until(lambda: not processes.group_members(group))
    assert not Path(private).exists()


def test_a_missing_wrangler_is_named(own_worker, tmp_path):
    with pytest.raises(RelayError, match="wrangler is missing"):
        own_worker(source=tmp_path, wrangler=True).start()


def test_a_worker_that_cannot_start_shows_its_log_without_the_token(tmp_path, own_worker):
    (tmp_path / "node_modules").symlink_to(ROOT / "worker" / "node_modules")
    (tmp_path / "wrangler.jsonc").write_text('{"name": "broken", "main": "nowhere-secret-words.ts"}')
    worker = own_worker(source=tmp_path, token="secret-words", wrangler=True)
    with pytest.raises(RelayError, match="the end of the log") as caught:
        worker.start()
    assert "nowhere-***.ts" in str(caught.value)
    assert "secret-words" not in str(caught.value)
    assert worker.pids() == []


def test_a_worker_that_never_gets_healthy_is_given_up_at_the_deadline(own_worker):
    worker = own_worker(start_timeout=0.01)
    with pytest.raises(RelayError, match=r"within 0.01 s"):
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
        assert list(processes.group_members(named.pid)) == [named.pid]
        processes.end_group(named.pid)
        assert named.wait(60) == -signal.SIGTERM
    finally:
        named.kill()
        named.communicate()


def test_a_generated_token_is_private_and_stays_the_same(tmp_path):
    path = tmp_path / ".dev.vars"
    token = tokens.kept_token(path)
    assert len(token) > 30
    assert tokens.kept_token(path) == token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_private_file_whose_writing_fails_stays_as_it_was_and_leaves_nothing_beside_it(tmp_path):
    file = tmp_path / ".dev.vars"
    envfile.write_private(file, "MINE=1\n")
    with pytest.raises(UnicodeEncodeError, match="codec can"):
        envfile.write_private(file, "MINE=1\nRELAY_TOKEN=\ud800\n")
    assert file.read_text() == "MINE=1\n"
    assert list(tmp_path.iterdir()) == [file]
