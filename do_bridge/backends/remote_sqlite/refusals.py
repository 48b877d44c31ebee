"""Makes statements fail on purpose, with words of our own in the error's text."""


def failing(kind, text="''"):
    """Return the SQL expression whose evaluation fails; `text` is SQL and ends up in the error.

    `json_extract()` puts a path that it cannot read into its error's text. `text` must depend on a row:
    SQLite computes constants, and fails, before it looks at any condition.
    """
    return f"json_extract('{{}}', 'do_bridge:{kind}:' || {text})"


def told(error, kind):
    """Return the text by which a `failing` expression of this kind failed, None for any other error."""
    _, found, rest = str(error).partition(f"do_bridge:{kind}:")
    return rest.partition("'")[0] if found else None
