"""The image, without Docker: its folder is made as the Dockerfile says, and the site is served from there."""

import fnmatch
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from do_bridge.relay.ports import free_port
from tests.conftest import DATABASE_ID, site_environment

ROOT = Path(__file__).resolve().parents[2]
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
# What lies about in a developer's folder and belongs in no image.
PRIVATE = [
    ".env",
    "state/demo-password",
    "worker/.dev.vars",
    ".git/config",
    "acme.sqlite3",
    "project/serve.py",
]


def instructions():
    """The Dockerfile's instructions: (word, the rest), lines joined."""
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    lines = [line.split(None, 1) for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, " ".join(rest.split())) for word, rest in lines]


def in_context(path):
    """Whether .dockerignore lets a path through to the builder; the last pattern that fits decides."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    parts = Path(path).parts
    places = ["/".join(parts[: end + 1]) for end in range(len(parts))]
    ignored = False
    for pattern in (line for line in lines if line and not line.startswith("#")):
        wanted = pattern.removeprefix("!")
        fits = any(
            fnmatch.fnmatchcase(Path(place).name, wanted.removeprefix("**/"))
            if wanted.startswith("**/")
            else fnmatch.fnmatchcase(place, wanted)
            for place in places
        )
        ignored = not pattern.startswith("!") if fits else ignored
    return not ignored


def copy_into(folder):
    """Copy what the COPY lines name, as far as the builder sees it; returns what was copied."""
    copied = []
    for word, rest in instructions():
        *sources, target = rest.split()
        if word != "COPY" or target.startswith("/tmp"):  # noqa: S108 - a path of the image's
            continue
        for source in sources:
            found = [ROOT / source] if (ROOT / source).is_file() else sorted((ROOT / source).rglob("*"))
            for file in found:
                name = file.relative_to(ROOT)
                if file.is_file() and in_context(str(name)):
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, folder / name)
                    copied.append(str(name))
    return copied


def status_of(url):
    """The status; None where nobody answers."""
    try:
        with OPENER.open(url, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def wait_for(url, status, seconds=30):
    deadline = time.monotonic() + seconds
    while status_of(url) != status:
        assert time.monotonic() < deadline, status_of(url)
        time.sleep(0.1)


class Image:
    """The folder of the image, and commands that run in it with an environment of their own."""

    def __init__(self, folder):
        self.folder = folder
        self.copied = copy_into(folder)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def environment(self, values):
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return {**kept, "PORT": str(self.port), "PYTHONDONTWRITEBYTECODE": "1", **values}

    def run(self, *command, **values):
        return subprocess.run(
            [sys.executable, *command],
            cwd=self.folder,
            env=self.environment(values),
            capture_output=True,
            text=True,
            check=False,
        )

    def serve(self, **values):
        command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{self.port}", "--workers", "1"]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment(values), stderr=subprocess.DEVNULL
        )


@pytest.fixture
def image(tmp_path):
    return Image(tmp_path)


def test_the_builder_sees_no_secret_and_nothing_that_no_image_needs(image):
    assert [path for path in PRIVATE if in_context(path)] == []
    assert in_context("requirements/lock.txt")
    assert {name.partition("/")[0] for name in image.copied} == {
        *("manage.py", "gunicorn.conf.py"),
        *("do_bridge", "accounts", "blog", "project"),
    }


def test_the_image_is_slim_and_its_process_is_not_root():
    words = [word for word, _ in instructions()]
    values = dict(instructions())
    assert values["FROM"].endswith("-slim")
    assert words.count("FROM") == words.count("USER") == 1
    # Whatever comes behind has no rights; what stands before may install.
    assert words.index("USER") > max(at for at, word in enumerate(words) if word in ("RUN", "COPY"))
    user = values["USER"]
    made = next(rest for word, rest in instructions() if word == "RUN" and "useradd" in rest)
    assert re.search(rf"useradd .*--uid [1-9]\d* .*\b{user}$", made)
    assert "--require-hashes" in next(rest for word, rest in instructions() if "pip install" in rest)


def test_the_image_serves_the_site_from_what_it_holds_and_takes_a_new_token_without_an_end(
    image, local_worker
):
    step = next(rest for word, rest in instructions() if word == "RUN" and "collectstatic" in rest)
    words = shlex.split(step.partition("&&")[0])
    command = words[words.index("python") + 1 :]
    done = image.run(*command, **dict(word.split("=", 1) for word in words[: words.index("python")]))
    assert done.returncode == 0, done.stderr

    own = {"CLOUDFLARE_DATABASE_ID": DATABASE_ID.format(4), "ALLOWED_HOSTS": "127.0.0.1"}
    values = {**site_environment(local_worker), **own}
    done = image.run("manage.py", "migrate", "--database", "default", "--verbosity", "0", **values)
    assert done.returncode == 0, done.stderr

    # From a file, as README says of a change of the token; the environment would come before it.
    token = values.pop("RELAY_TOKEN")
    (image.folder / ".env").write_text(f"RELAY_TOKEN={token[::-1]}\n")
    health = json.loads(dict(instructions())["HEALTHCHECK"].partition("CMD ")[2])[2]
    process = image.serve(**values)
    try:
        wait_for(f"{image.url}/healthz", 503)
        (image.folder / ".env").write_text(f"RELAY_TOKEN={token}\n")
        process.send_signal(signal.SIGHUP)
        wait_for(f"{image.url}/healthz", 200)
        pages = ("/", "/accounts/login/", "/static/project/site.css", "/admin/login/")
        assert {page: status_of(image.url + page) for page in pages} == dict.fromkeys(pages, 200)
        assert image.run("-c", health).returncode == 0
    finally:
        process.terminate()
        process.wait(60)
    assert process.returncode == 0
    assert image.run("-c", health).returncode != 0
