"""The engine for D1: one shared database with atomic batches.

Its transactions are optimistic, on request.
"""
