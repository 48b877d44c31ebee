from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ("do_bridge", "0001_initial"),
    ]

    operations = [
        migrations.RemoveField(
            model_name="tenantstate",
            name="size",
        ),
    ]
