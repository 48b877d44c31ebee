"""The package's version, which the driver reads without the other parts."""

__version__ = "0.1.0"
