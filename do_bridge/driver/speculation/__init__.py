"""Optimistic transactions for D1.

An open block is speculated, and validated when it commits.
"""

from .conflict import TransactionConflict
from .keys import reserve_keys
from .transaction import Speculation

__all__ = ["Speculation", "TransactionConflict", "reserve_keys"]
