"""Runs a migration that kills its own process between two statements: `killed_migration.py NAME CASE`.

The settings of the alias "default" come as JSON on standard input.
"""

import json
import os
import signal
import sys

from django.conf import settings


def main(case: str) -> None:
    """Run case "schema" or "python" of `steps` and die on the way."""
    settings.configure(DATABASES={"default": json.load(sys.stdin)}, USE_TZ=True, INSTALLED_APPS=[])
    import django

    django.setup()
    from django.db import connection
    from migration_cases import APP, executor

    executor(connection, *steps(case, die)).migrate([(APP, "0002")])


def die(apps, schema_editor) -> None:
    """Make sure that what came before has been sent, and end this process at once."""
    apps.get_model("ship", "Boat").objects.using(schema_editor.connection.alias).count()
    os.kill(os.getpid(), signal.SIGKILL)


def steps(case, in_the_middle):
    """Return the migrations; `in_the_middle` runs between the statements of the second one."""
    from django.db import migrations
    from migration_cases import add_length, create_boat, create_sailor, migration, python

    if case == "python":
        middle = python(in_the_middle)
    else:

        class Between(migrations.operations.base.Operation):
            """Runs after the statements before it were made, and before those behind it are."""

            def state_forwards(self, app_label, state):
                pass

            def database_forwards(self, app_label, schema_editor, from_state, to_state):
                if in_the_middle is die:
                    os.kill(os.getpid(), signal.SIGKILL)

            def describe(self):
                return "Between"

        middle = Between()
    return (
        migration("0001", create_boat()),
        migration(
            "0002", create_sailor(), add_length(), middle, migrations.RenameField("Boat", "home", "port")
        ),
    )


if __name__ == "__main__":
    main(sys.argv[1])
