"""Django on Cloudflare D1 and on one Durable Object for each tenant."""

from .version import __version__

__all__ = ["TransactionConflict", "__version__", "batch", "retry_on_conflict"]


def __getattr__(name):
    # Late, so that importing do_bridge (and its driver) does not import Django.
    if name == "batch":
        from .batches import batch

        return batch
    if name in ("TransactionConflict", "retry_on_conflict"):
        from . import conflicts

        return getattr(conflicts, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
