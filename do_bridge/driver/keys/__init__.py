"""Idempotency keys: a write with a key may be sent again and runs once."""
