"""Other people's applications on sqlite3 and on both engines; `make applications LABEL=wagtail`."""
