"""SQL's quoted names."""


def quote(name):
    """Return an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
