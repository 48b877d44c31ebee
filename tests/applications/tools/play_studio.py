"""libSQL's clients of Python and of Node against `relay studio`, on an object and on D1."""

import os
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path

import django

HERE = Path(__file__).resolve().parent
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


@contextmanager
def served(alias, *, writes):
    from do_bridge.management.relay.studio import connector
    from do_bridge.studio.server import Server

    with Server(connector(alias), writes=writes) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def play_libsql(server):
    """The client `libsql`."""
    import libsql

    connection = libsql.connect(server.url, auth_token=server.token)
    connection.execute("CREATE TABLE plays (id INTEGER PRIMARY KEY, n INTEGER, b BLOB, t TEXT)")
    connection.commit()
    connection.execute("INSERT INTO plays (n, b, t) VALUES (?, ?, ?)", (BIG, b"\0\xff", "ü"))
    connection.commit()
    assert connection.execute("SELECT n, b, t FROM plays").fetchall() == [(BIG, b"\0\xff", "ü")]
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
        assert connection.execute(text("SELECT :n"), {"n": BIG}).scalar() == BIG
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
    folder = Path(f"drizzle-{server.server_address[1]}")
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
