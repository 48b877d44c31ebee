"""Optimistic transactions for D1.

An open block is speculated, and validated when it commits.
"""
