from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("yard", "0001_initial")]

    operations = [
        migrations.AddField("boat", "length", models.IntegerField(default=7)),
        migrations.AddIndex("boat", models.Index(fields=["name"], name="yard_boat_name")),
    ]
