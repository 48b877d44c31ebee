"""A connection that expects a schema: what runs, what does not, and the second try."""

import pytest

from do_bridge import driver

META = "CREATE TABLE _do_bridge_meta (key TEXT PRIMARY KEY, value TEXT)"
WRITE = "INSERT OR REPLACE INTO _do_bridge_meta VALUES ('schema', %s)"


@pytest.fixture
def marked(tenant):
    """A connection to an object that holds the schema "aa"."""
    tenant.execute_batch([(META, None), (WRITE, ("aa",)), ("CREATE TABLE t (a)", None)])
    return tenant


def count(conn):
    return conn.execute("SELECT count(*) FROM t").fetchone()[0]


@pytest.mark.parametrize("in_transaction", [False, True])
def test_nothing_runs_where_another_schema_is_found(marked, in_transaction):
    marked.expect = "bb"
    if in_transaction:
        marked.begin()
    with pytest.raises(driver.OperationalError, match="not the one that this code expects") as caught:
        marked.execute("INSERT INTO t VALUES (1)")
    marked.rollback()
    assert (caught.value.kind, caught.value.found, caught.value.effect) == ("schema_mismatch", "aa", "none")
    marked.expect = "aa"
    assert count(marked) == 0


@pytest.mark.parametrize("in_transaction", [False, True])
def test_the_call_is_made_again_once_things_are_right(marked, in_transaction):
    heard = []

    def repair(found):
        heard.append(found)
        return found

    marked.expect, marked.on_mismatch = "bb", repair
    if in_transaction:
        marked.begin()
    marked.execute("INSERT INTO t VALUES (1)")
    if in_transaction:
        marked.execute("INSERT INTO t VALUES (2)")
    marked.commit()
    marked.expect = "aa"
    assert (heard, count(marked)) == (["aa"], 2 if in_transaction else 1)


def test_a_schema_that_changes_in_the_life_of_a_connection_is_noticed(marked):
    marked.expect = "aa"
    assert count(marked) == 0
    marked.expect = None
    marked.execute(WRITE, ("bb",))
    marked.expect = "aa"
    with pytest.raises(driver.OperationalError, match="The schema of the") as caught:
        count(marked)
    assert caught.value.found == "bb"


def test_the_second_try_is_the_last(marked):
    marked.expect, marked.on_mismatch = "bb", lambda found: "cc"
    with pytest.raises(driver.OperationalError, match="The schema of the") as caught:
        count(marked)
    assert caught.value.kind == "schema_mismatch"


@pytest.mark.parametrize("in_transaction", [False, True])
def test_each_schema_that_passes_while_a_call_is_on_its_way_is_told_once(marked, in_transaction, relay):
    later = ["bb", "cc"]
    heard = []

    def repair(found):
        heard.append(found)
        if later:
            # Somebody else migrates the object before the call is sent again.
            with driver.connect(relay, marked.database) as other:
                other.execute(WRITE, (later.pop(0),))
        return found

    marked.expect, marked.on_mismatch = "00", repair
    if in_transaction:
        marked.begin()
    marked.execute("INSERT INTO t VALUES (1)")
    marked.commit()
    marked.expect = "cc"
    assert (heard, count(marked)) == (["aa", "bb", "cc"], 1)
