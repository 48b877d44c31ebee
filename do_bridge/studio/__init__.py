"""libSQL's protocol for one database, served on this machine.

This is Hrana 2 and 3 over HTTP, as JSON:
https://github.com/tursodatabase/libsql/blob/main/docs/HRANA_3_SPEC.md
"""
