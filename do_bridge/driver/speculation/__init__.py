"""Optimistic transactions for D1: an open block is speculated, and validated when it commits."""
