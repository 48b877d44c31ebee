"""Django on Cloudflare D1 and on one Durable Object for each tenant."""

__version__ = "0.1.0"
__all__ = ["batch"]


def __getattr__(name):
    # Late, so that importing do_bridge (and its driver) does not import Django.
    if name == "batch":
        from .batches import batch

        return batch
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
