"""The tests that three applications ship, on sqlite3 and on D1 with optimistic transactions."""
