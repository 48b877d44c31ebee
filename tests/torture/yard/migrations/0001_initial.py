import django.db.models.deletion
from django.db import migrations, models

BOATS = "INSERT INTO yard_boat (name) VALUES ('ann'), ('bea'), ('cid')"
CREWS = "INSERT INTO yard_crew (boat_id) SELECT id FROM yard_boat"


class Migration(migrations.Migration):
    initial = True
    dependencies = []

    operations = [
        migrations.CreateModel(
            "Boat",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=20)),
            ],
        ),
        migrations.CreateModel(
            "Crew",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False)),
                ("boat", models.ForeignKey("yard.boat", django.db.models.deletion.CASCADE)),
            ],
        ),
        migrations.RunSQL(BOATS, migrations.RunSQL.noop),
        migrations.RunSQL(CREWS, migrations.RunSQL.noop),
    ]
