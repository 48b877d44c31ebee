from django.db import migrations

NAMES = ("membership_added", "membership_ended", "membership_moved", "member_changed", "tenant_ended")


class Migration(migrations.Migration):
    """The dirty flags are do_bridge.members' own; its first migration of D1 flags all members once."""

    dependencies = [
        ("accounts", "0003_sign_in_failure"),
    ]

    operations = [
        migrations.RunSQL(
            [f"DROP TRIGGER IF EXISTS accounts_{name}" for name in NAMES], migrations.RunSQL.noop
        ),
        migrations.DeleteModel(name="OutOfStep"),
    ]
