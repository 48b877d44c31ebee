"""The settings that the environment gives, and what is said where one is missing."""

import os
import re

import pytest
from django.conf import settings

from do_bridge.relay.tokens import OPTIONAL_TOKENS
from tests import forking

SETTINGS = settings.BASE_DIR / "project" / "settings.py"
GOOD = {"SECRET_KEY": "Long-and-random-enough-0123456789-" * 2, "SECURE": "True", "HSTS_SECONDS": "3600"}


def check(*options, **environment):
    """Run `manage.py check` in a process of its own; returns it."""
    return forking.run(["manage.py", "check", *options], env={**os.environ, **GOOD, **environment})


def output_of(code, **environment):
    """Return what a program writes in a process of its own."""
    done = forking.run(["-c", code], env={**os.environ, **GOOD, **environment})
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("replicas", ["False", "True"])
def test_a_deployed_site_has_no_warning(replicas):
    done = check("--deploy", "--fail-level", "WARNING", D1_REPLICAS=replicas)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"SECRET_KEY": ""}, "SECRET_KEY"),
        ({"RELAY_TOKEN": ""}, "RELAY_URL is set and RELAY_TOKEN is not"),
        ({"D1_TRANSPORT": "pigeon"}, "Set it to 'relay' or 'rest'"),
        ({"D1_TRANSACTIONS": "real"}, "Set it to 'none' or 'optimistic'"),
        ({"D1_REPLICAS": "True", "D1_TRANSPORT": "rest"}, "over which D1 has no sessions"),
        ({"D1_TRANSPORT": "relay", "RELAY_URL": ""}, "RELAY_URL is empty"),
        ({"TENANT_DOMAIN": "https://blog.example"}, "Set it to a domain name such as blog.example"),
        ({"TENANT_DOMAIN": ".blog.example"}, "Set it to a domain name such as blog.example"),
    ],
)
def test_a_missing_or_wrong_setting_is_named(environment, message):
    done = check(**environment)
    assert done.returncode != 0
    assert message in done.stderr


@pytest.mark.parametrize("whole", ["", "for-all"])
def test_tokens_for_one_kind_of_database_each_need_no_other(whole):
    code = "from project.settings import DATABASES as d; print(d['default'], d['tenant'])"
    scoped = {"RELAY_TOKEN_TENANTS": "for-tenants", "RELAY_TOKEN_DIRECTORY": "for-d1"}
    passwords = re.findall(r"'PASSWORD': '([^']*)'", output_of(code, RELAY_TOKEN=whole, **scoped))
    assert passwords == ["for-d1", "for-tenants"]


@pytest.mark.parametrize(
    "name", ["SECRET_KEY", "MIGRATE_TOKEN", "RELAY_TOKEN", "RELAY_TOKEN_TENANTS", "RELAY_TOKEN_DIRECTORY"]
)
def test_a_secret_may_begin_with_a_dollar(name):
    secret = "$ecret-of-many-different-characters-0123456789"
    assert output_of(f"from project import settings; print(settings.{name})", **{name: secret}) == secret


def test_lists_may_have_spaces_and_levels_small_letters():
    code = (
        "from project.settings import *; print(ALLOWED_HOSTS, CSRF_TRUSTED_ORIGINS, LOGGING['root']['level'])"
    )
    values = {
        "ALLOWED_HOSTS": "a.example, b.example ",
        "CSRF_TRUSTED_ORIGINS": "https://a.example , https://b.example",
        "LOG_LEVEL": "warning",
    }
    assert output_of(code, **values) == (
        "['a.example', 'b.example'] ['https://a.example', 'https://b.example'] WARNING"
    )


def test_the_rest_transport_speaks_to_cloudflare_unless_another_api_is_named():
    code = "from project.settings import DATABASES as d; print(d['default']['HOST'])"
    hosts = []
    for base in ("", "http://localhost:1/api"):
        values = {"D1_TRANSPORT": "rest", "D1_API_BASE": base, "CLOUDFLARE_D1_TOKEN": "t"}
        hosts.append(output_of(code, **values))
    assert hosts == ["https://api.cloudflare.com/client/v4", "http://localhost:1/api"]


def test_env_example_explains_every_setting_that_is_read():
    read = set(re.findall(r"""env(?:iron)?(?:\.\w+)?\(\s*"([A-Z0-9_]+)\"""", SETTINGS.read_text()))
    lines = (settings.BASE_DIR / ".env.example").read_text().splitlines()
    named = {
        line.partition("=")[0]: lines[number - 1]
        for number, line in enumerate(lines)
        if "=" in line and line[0] != "#"
    }
    assert read <= set(named)
    # The deploying commands and seed_demo read these themselves.
    previous = {name for name in OPTIONAL_TOKENS if name.endswith("_PREVIOUS")}
    assert set(named) - read == {"CLOUDFLARE_API_TOKEN", "DEMO_PASSWORD"} | previous
    assert all(comment.startswith("# ") for comment in named.values())
