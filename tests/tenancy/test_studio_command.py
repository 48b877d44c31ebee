"""The command `relay studio`: its address and token, and what it refuses before it serves."""

import http.client
import io
import json
import signal
import subprocess
import sys
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connections

from do_bridge.management.relay.studio import connector
from tests.tenancy.processes import PROGRAM


def test_it_serves_one_tenant_until_it_is_ended(acme):
    orders = {
        "arguments": ["relay", "studio", acme.slug],
        "directory": connections["default"].settings_dict["NAME"],
        "objects": settings.DATABASES["tenant"]["NAME"],
        **dict.fromkeys(("migrations", "kill", "backups")),
    }
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, str(PROGRAM)], **pipes)
    try:
        process.stdin.write(json.dumps(orders))
        process.stdin.close()
        told = process.stdout.readline()
        assert told.startswith(f"{acme.slug} at http://127.0.0.1:")
        assert "only read" in told
        values = dict(process.stdout.readline().strip().split("=", 1) for _ in range(2))
        connection = http.client.HTTPConnection(urlsplit(values["DATABASE_URL"]).netloc, timeout=30)
        body = {"requests": [{"type": "execute", "stmt": {"sql": "SELECT count(*) FROM blog_post"}}]}
        headers = {"Authorization": f"Bearer {values['DATABASE_AUTH_TOKEN']}"}
        connection.request("POST", "/v3/pipeline", json.dumps(body), headers)
        (answer,) = json.loads(connection.getresponse().read())["results"]
        connection.close()
        assert answer["response"]["result"]["rows"] == [[{"type": "integer", "value": "0"}]]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        rest, errors = process.stdout.read(), process.stderr.read()
        process.stdout.close()
        process.stderr.close()
    assert process.returncode == 0, rest + errors
    assert errors.strip() == "Stopped."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Name a tenant"),
        (["x", "--database", "default"], "Name a tenant"),
        (["Not A Slug"], "not a valid slug"),
        (["nobody-has-this"], "does not exist"),
        (["--database", "nothing"], "no alias 'nothing'"),
        (["--database", "default", "--lease", "60"], "between 0.1 and 25"),
        (["--database", "default", "--port", "70000"], "can't be used"),
    ],
)
def test_wrong_arguments_are_errors_of_one_line(db, arguments, message):
    with pytest.raises(CommandError, match=message):
        call_command("relay", "studio", *arguments, stdout=io.StringIO())


def test_d1_and_tenants_can_be_opened(acme):
    for alias in ("default", f"tenant/{acme.slug}"):
        with connector(alias)() as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
            assert connection.supports_transactions
