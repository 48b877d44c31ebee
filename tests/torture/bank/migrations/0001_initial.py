import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = []

    operations = [
        migrations.CreateModel(
            "Account",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False)),
                ("balance", models.IntegerField(default=1000)),
            ],
        ),
        migrations.CreateModel(
            "Entry",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False)),
                ("op", models.CharField(db_index=True, max_length=40)),
                ("amount", models.IntegerField()),
                (
                    "account",
                    models.ForeignKey("bank.account", django.db.models.deletion.PROTECT, db_index=False),
                ),
            ],
            options={"indexes": [models.Index(fields=["account", "amount"], name="bank_entry_sums")]},
        ),
    ]
