from django.db import migrations, models

from do_bridge.tenancy.places import default_jurisdiction

# Until now all tenants were in the place that the settings name.
_PLACE = "UPDATE do_bridge_tenantstate SET jurisdiction = %s"


class Migration(migrations.Migration):

    dependencies = [
        ("do_bridge", "0004_lease"),
    ]

    operations = [
        migrations.AddField(
            model_name="tenantstate",
            name="jurisdiction",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="The object's jurisdiction; empty for none.",
                max_length=16,
            ),
        ),
        migrations.AddField(
            model_name="tenantstate",
            name="location",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="The hint with which the object was made.",
                max_length=16,
            ),
        ),
        migrations.AddField(
            model_name="tenantstate",
            name="left_behind",
            field=models.CharField(
                blank=True,
                help_text="The jurisdiction of another object of the tenant, which a move has not erased yet.",
                max_length=16,
                null=True,
            ),
        ),
        migrations.RunSQL([(_PLACE, [default_jurisdiction()])], migrations.RunSQL.noop),
    ]
