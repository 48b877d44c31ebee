from django.db import migrations, models


def fill(apps, schema_editor):
    boats = apps.get_model("yard", "Boat").objects.using(schema_editor.connection.alias)
    for boat in boats.all():
        boat.callsign = boat.name.upper()
        boat.save()


class Migration(migrations.Migration):
    dependencies = [("yard", "0002_length")]

    operations = [
        migrations.AddField("boat", "callsign", models.CharField(max_length=20, null=True)),
        migrations.RunPython(fill, migrations.RunPython.noop),
        # A column that may no longer be NULL: SQLite's table is built anew, with rows pointing at it.
        migrations.AlterField("boat", "callsign", models.CharField(max_length=20)),
    ]
