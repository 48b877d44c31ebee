"""docs/reference/settings.md names every setting of the package with its default, and no other."""

import ast
import inspect
import re
from pathlib import Path

from do_bridge import driver
from do_bridge.backends.d1 import base as d1
from do_bridge.backends.durable_object import base as durable_object
from do_bridge.backends.remote_sqlite.migrate.executor import DEFAULT_LEASE
from do_bridge.backends.warming import SPARE_SESSIONS
from do_bridge.tenancy.conf import DEFAULTS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "settings.md").read_text()


def test_every_setting_of_the_dictionary_is_explained_with_its_default():
    shown = dict(re.findall(r"^\| `([A-Z_]+)` \| `(.+?)` \| \S", PAGE, re.MULTILINE))
    assert {name: ast.literal_eval(value) for name, value in shown.items()} == DEFAULTS


def test_every_option_is_explained_with_its_engine_and_default():
    rows = re.findall(r"^\| `([a-z_]+)` \| (both|`\w+`) \| `(.+?)` \| \S", PAGE, re.MULTILINE)
    engines = {"`d1`": d1.OPTIONS, "`durable_object`": durable_object.OPTIONS}
    explained = {
        (own, name): ast.literal_eval(default)
        for name, engine, default in rows
        for own in (engines if engine == "both" else [engine])
    }
    assert explained == {
        (own, name): default_of(name, own) for own, options in engines.items() for name in options
    }


def default_of(option, engine):
    """The engine's own default, or else the driver's."""
    own = {
        "transport": "relay",
        "account_id": None,
        "jurisdiction": None,
        "migration_lease": DEFAULT_LEASE,
        "spare_sessions": SPARE_SESSIONS,
        "transactions": "none",
        "write_keys": True,
    }
    if option in own:
        return own[option]
    of_connection = inspect.signature(driver.connect).parameters
    return (of_connection.get(option) or inspect.signature(driver.relay).parameters[option]).default
