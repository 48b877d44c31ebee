from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("yard", "0003_callsign")]

    operations = [
        migrations.RenameField("boat", "length", "metres"),
        migrations.CreateModel(
            "Harbour",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=20)),
            ],
        ),
        migrations.RunSQL("INSERT INTO yard_harbour (name) VALUES ('kiel')", migrations.RunSQL.noop),
    ]
