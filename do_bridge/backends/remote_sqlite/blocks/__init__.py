"""Blocks of `atomic()` that cover two connections."""
