"""Django's own tests on two D1 databases with optimistic transactions, over the relay."""

from settings_d1 import *  # noqa: F403
from settings_d1 import DATABASES

for values in DATABASES.values():
    # Some tests write more rows one by one than a block should.
    values["OPTIONS"] |= {"transactions": "optimistic", "max_writes": 2000}
