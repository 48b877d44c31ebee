"""The package's version, apart so that the driver can read it without the package's other parts."""

__version__ = "0.1.0"
