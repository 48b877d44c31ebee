"""libSQL's clients of Python and of Node against `relay studio`, on an object and on D1."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import django

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
BIG = 2**53 + 1


def main():
    django.setup()
    from django.core.management import call_command

    from do_bridge.tenancy.lifecycle.creation import create_tenant

    call_command("migrate", verbosity=0)
    create_tenant("acme")
    for alias in ("tenant/acme", "default"):
        with served(alias, writes=True) as server:
            play_libsql(server)
            play_sqlalchemy(server)
            play_node("client.mjs", server)
        with served(alias, writes=False) as server:
            play_read_only(server)
            play_drizzle_kit(server)
    print("libsql, sqlalchemy-libsql, @libsql/client and drizzle-kit have what they need.")  # noqa: T201


class Server(NamedTuple):
    """A running `relay studio`."""

    url: str
    token: str


@contextmanager
def served(alias, *, writes):
    """Run the command in a process of its own: `libsql` stops all threads while it waits."""
    command = [sys.executable, str(ROOT / "manage.py"), "relay", "studio", "--database", alias]
    process = subprocess.Popen(
        [*command, *(["--write"] if writes else [])], stdout=subprocess.PIPE, text=True
    )
    try:
        process.stdout.readline()
        yield Server(*(process.stdout.readline().strip().partition("=")[2] for _ in range(2)))
    finally:
        process.terminate()
        process.wait()


def play_libsql(server):
    """The client `libsql`."""
    import libsql

    connection = libsql.connect(server.url, auth_token=server.token)
    connection.execute("CREATE TABLE plays (id INTEGER PRIMARY KEY, n INTEGER, b BLOB, t TEXT)")
    connection.commit()
    connection.execute("INSERT INTO plays (n, b, t) VALUES (?, ?, ?)", (5, b"\0\xff", "ü"))
    connection.commit()
    rows = connection.execute(f"SELECT n, b, t, {BIG}, typeof(n) FROM plays").fetchall()
    # The client sends integers beyond 2**53 as floats; it reads them exactly.
    assert rows == [(5, b"\0\xff", "ü", BIG, "integer")], rows
    connection.execute("DELETE FROM plays")
    connection.rollback()
    assert connection.execute("SELECT count(*) FROM plays").fetchone() == (1,)
    connection.execute("DROP TABLE plays")
    connection.commit()


def play_sqlalchemy(server):
    """The dialect sqlalchemy-libsql, as pandas and Superset use it."""
    from sqlalchemy import create_engine, inspect, text

    url = server.url.replace("http://", "sqlite+libsql://")
    engine = create_engine(url, connect_args={"auth_token": server.token})
    tables = inspect(engine).get_table_names()
    assert "blog_post" in tables, tables
    assert {column["name"] for column in inspect(engine).get_columns("blog_post")} >= {"id", "title"}
    with engine.connect() as connection:
        assert connection.execute(text(f"SELECT {BIG}")).scalar() == BIG
        assert connection.execute(text("SELECT :n"), {"n": "x"}).scalar() == "x"
    engine.dispose()


def play_read_only(server):
    """What a client is told that may not write."""
    import libsql

    connection = libsql.connect(server.url, auth_token=server.token)
    try:
        connection.execute("DELETE FROM blog_post")
    except ValueError as error:
        assert "only reads" in str(error), error
    else:
        raise AssertionError("a write was accepted")
    wrong = libsql.connect(server.url, auth_token="wrong")
    try:
        wrong.execute("SELECT 1").fetchall()
    except ValueError as error:
        assert "401" in str(error) or "token" in str(error), error
    else:
        raise AssertionError("a wrong token was accepted")


def play_node(program, server):
    """A program of Node with npm's packages."""
    run_node(["node", str(HERE / program)], server)


def play_drizzle_kit(server):
    """drizzle-kit reads the schema, as Drizzle Studio's server does."""
    folder = Path(f"drizzle-{server.url.rpartition(':')[2]}")
    folder.mkdir()
    config = folder / "drizzle.config.mjs"
    config.write_text((HERE / "drizzle.config.mjs").read_text())
    kit = Path(os.environ["NODE_PACKAGES"]) / ".bin" / "drizzle-kit"
    run_node([str(kit), "pull", "--config", config.name], server, cwd=folder)
    schema = (folder / "drizzle" / "schema.ts").read_text()
    assert 'sqliteTable("blog_post"' in schema, schema[:2000]


def run_node(command, server, cwd=None):
    environment = {**os.environ, "DATABASE_URL": server.url, "DATABASE_AUTH_TOKEN": server.token}
    environment["NODE_PATH"] = os.environ["NODE_PACKAGES"]
    subprocess.run(command, env=environment, cwd=cwd, check=True, timeout=300)


if __name__ == "__main__":
    main()
