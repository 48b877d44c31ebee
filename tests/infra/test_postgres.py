"""The PostgreSQL server that tests compare with: it ends with its block, and tests can do without it."""

from pathlib import Path

import psycopg
import pytest

from tests import postgres


def test_a_machine_without_postgresql_is_told_why_the_comparison_is_skipped(monkeypatch, tmp_path):
    monkeypatch.setattr(postgres, "_PLACES", tmp_path)
    assert postgres.binaries() is None
    assert f"PostgreSQL is not in {tmp_path}" in postgres.reason_to_skip()
    with pytest.raises(RuntimeError, match="PostgreSQL is not in"):
        postgres.PostgresServer()


@pytest.mark.skipif(bool(postgres.reason_to_skip()), reason=postgres.reason_to_skip())
def test_the_server_ends_and_leaves_nothing_if_its_block_fails():
    with pytest.raises(ZeroDivisionError, match="failed"), postgres.PostgresServer() as server:
        folder = server._folder
        with psycopg.connect(server.dsn) as connection:
            assert connection.execute("SHOW default_transaction_isolation").fetchone()
        left_open = psycopg.connect(server.dsn)
        raise ZeroDivisionError("failed")
    assert not Path(folder).exists()
    with pytest.raises(psycopg.OperationalError, match=".*"):
        psycopg.connect(server.dsn, connect_timeout=2)
    left_open.close()
