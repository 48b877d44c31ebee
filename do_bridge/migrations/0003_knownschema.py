from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("do_bridge", "0002_size_is_asked_live"),
    ]

    operations = [
        migrations.CreateModel(
            name="KnownSchema",
            fields=[
                ("fingerprint", models.CharField(max_length=64, primary_key=True, serialize=False)),
                (
                    "migrations",
                    models.TextField(help_text="The migrations, one app.name in each line. The fingerprint is the hash of this text."),
                ),
                ("noted", models.DateTimeField()),
            ],
            options={"default_permissions": ()},
        ),
    ]
