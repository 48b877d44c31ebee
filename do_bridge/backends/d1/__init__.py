"""The engine for D1: one shared database, without transactions, with atomic batches."""
