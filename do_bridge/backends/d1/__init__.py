"""The engine for D1: one shared database with atomic batches, and with optimistic transactions on request."""
