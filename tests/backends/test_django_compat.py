"""Which Django is supported, and what happens on another one."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from do_bridge import django_compat

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize(
    ("version", "advice"),
    [
        ((4, 2), "Run"),
        ((5, 1), "Run"),
        ((6, 2), "Upgrade do_bridge, or run"),
        ((7, 0), "Upgrade do_bridge, or run"),
    ],
)
def test_a_series_that_is_not_known_is_refused_with_what_to_do(version, advice):
    name = ".".join(map(str, version))
    with pytest.raises(
        ImproperlyConfigured, match=rf"supports Django 5.2, 6.0 and 6.1.*Django {name} "
    ) as one:
        django_compat.require_known(version)
    assert str(one.value).endswith(f'. {advice} pip install "django~=6.1.0".')


@pytest.mark.parametrize("version", django_compat.SERIES)
def test_a_known_series_is_accepted(version):
    django_compat.require_known(version)


@pytest.mark.parametrize(
    "module", ["backends.d1.base", "backends.durable_object.base", "apps", "backends.remote_sqlite.base"]
)
def test_each_way_into_the_package_refuses_an_unknown_series_at_import(module):
    code = f"import django; django.VERSION = (9, 0, 0, 'final', 0); import do_bridge.{module}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ImproperlyConfigured: do_bridge" in done.stderr.splitlines()[-1]
    assert "Django 9.0 is not one of them" in done.stderr


def test_installing_the_package_downgrades_no_django():
    (django,) = (item for item in PROJECT["dependencies"] if item.lower().startswith("django>"))
    assert re.fullmatch(r"(?i)django>=5\.2", django)


def test_the_packages_classifiers_name_each_series_and_python():
    named = [item for item in PROJECT["classifiers"] if item.startswith("Framework :: Django :: ")]
    assert named == [f"Framework :: Django :: {major}.{minor}" for major, minor in django_compat.SERIES]
    pythons = [
        item for item in PROJECT["classifiers"] if item.startswith("Programming Language :: Python :: 3.")
    ]
    assert [item.rpartition(" ")[2] for item in pythons] == ["3.11", "3.12", "3.13", "3.14"]


@pytest.mark.skipif(not django_compat.HAS_DB_ON_DELETE, reason="Django has it since 6.1.")
def test_the_clauses_of_foreign_keys_are_those_of_djangos_own_editor():
    from django.db.backends.sqlite3.schema import DatabaseSchemaEditor

    stock = DatabaseSchemaEditor.sql_create_inline_fk
    assert stock.removesuffix(" DEFERRABLE INITIALLY DEFERRED") == django_compat.INLINE_FOREIGN_KEY
