from django.db import migrations, models

# A tenant that was ready stays so; what was begun and not finished is an operation whose lease has expired.
_KEEP = """
UPDATE do_bridge_tenantstate SET
operation = CASE
  WHEN state NOT IN ('migrating', 'failed') OR doing = 'migrate: not used yet' OR error LIKE 'TenantUnclaimed%'
  THEN '' WHEN doing IN ('load', 'delete') THEN doing ELSE 'migrate' END,
state = CASE
  WHEN state = 'deleted' THEN 'deleted'
  WHEN state <> 'ready' AND (doing = 'load' OR doing = 'migrate: not used yet' OR error LIKE 'TenantUnclaimed%')
  THEN 'unused' ELSE 'ready' END
"""
_EXPIRED = "UPDATE do_bridge_tenantstate SET expires = '2000-01-01 00:00:00.000' WHERE operation <> ''"


class Migration(migrations.Migration):

    dependencies = [
        ("do_bridge", "0003_knownschema"),
    ]

    operations = [
        migrations.AddField(
            model_name="tenantstate",
            name="operation",
            field=models.CharField(blank=True, default="", help_text="The operation that holds the lease, or was interrupted.", max_length=10),
        ),
        migrations.AddField(
            model_name="tenantstate",
            name="owner",
            field=models.CharField(blank=True, default="", max_length=32),
        ),
        migrations.AddField(
            model_name="tenantstate",
            name="expires",
            field=models.DateTimeField(blank=True, help_text="When the lease ends, by D1's clock.", null=True),
        ),
        migrations.AddField(
            model_name="tenantstate",
            name="fence",
            field=models.BigIntegerField(default=0, help_text="The fencing token of the latest lease."),
        ),
        migrations.AddField(
            model_name="tenantstate",
            name="emptied",
            field=models.BigIntegerField(default=0, help_text="The fencing token of the last deletion."),
        ),
        migrations.RunSQL([_KEEP, _EXPIRED], migrations.RunSQL.noop),
        migrations.RemoveField(
            model_name="tenantstate",
            name="doing",
        ),
        migrations.AlterField(
            model_name="tenantstate",
            name="state",
            field=models.CharField(
                choices=[("unused", "Not used yet"), ("ready", "Ready"), ("deleted", "Deleted")],
                db_index=True,
                max_length=10,
            ),
        ),
    ]
