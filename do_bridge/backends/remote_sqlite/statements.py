"""Send several statements in one round trip."""

import logging
from time import monotonic

logger = logging.getLogger("django.db.backends")


def settle(connection):
    """Send the statements of the connection's open schema editor.

    Call it before another statement runs.
    """
    editor = getattr(connection, "open_schema_editor", None)
    if editor is not None:
        editor.settle()


def send(connection, statements):
    """Run [(sql, params), …] in one round trip on a Django connection.

    Returns the driver's results. Outside a transaction the statements are one atomic batch; inside one they
    are its next steps. Raises Django's database errors. The query log gets the SQL, never a parameter.
    """
    if not statements:
        return []
    settle(connection)
    connection.validate_no_broken_transaction()
    connection.ensure_connection()
    start = monotonic()
    try:
        with connection.wrap_database_errors:
            results = connection.connection.execute_batch(statements)
    finally:
        _log(connection, statements, monotonic() - start)
    return results


def _log(connection, statements, duration):
    if not connection.queries_logged:
        return
    for sql, _params in statements:
        connection.queries_log.append({"sql": sql, "time": f"{duration:.3f}"})
        logger.debug("(%.3f) %s; batch of %d", duration, sql, len(statements), extra={"sql": sql})
