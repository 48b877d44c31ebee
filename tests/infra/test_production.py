"""The tests' Workers have what production has; without it no test would see what it breaks."""

import pytest

from do_bridge import driver

LOOK_INTO_EVERY_TABLE = "SELECT m.name, x.name FROM sqlite_master m JOIN pragma_table_xinfo(m.name) x"
DATABASES = [
    "do:test/internal",
    *(f"d1:d0b41d9e-0000-4000-8000-00000000000{number}" for number in range(9)),
]


@pytest.mark.parametrize("database", DATABASES)
def test_every_database_has_a_table_of_the_runtimes_own(relay, database):
    with driver.connect(relay, database) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master").fetchall()]
        assert "_cf_KV" in names
        with pytest.raises(driver.NotSupportedError, match="not authorized"):
            connection.execute(LOOK_INTO_EVERY_TABLE)
