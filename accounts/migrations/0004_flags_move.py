from django.db import migrations

NAMES = ("membership_added", "membership_ended", "membership_moved", "member_changed", "tenant_ended")


class Migration(migrations.Migration):
    """Give the dirty flags to do_bridge.members.

    Its first migration of D1 sets the flags of all members once.
    """

    dependencies = [
        ("accounts", "0003_sign_in_failure"),
    ]

    operations = [
        migrations.RunSQL(
            [f"DROP TRIGGER IF EXISTS accounts_{name}" for name in NAMES], migrations.RunSQL.noop
        ),
        migrations.DeleteModel(name="OutOfStep"),
    ]
