from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("do_bridge", "0005_place"),
    ]

    operations = [
        migrations.CreateModel(
            name="TenantBookmark",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("slug", models.CharField(max_length=63)),
                (
                    "jurisdiction",
                    models.CharField(
                        blank=True,
                        default="",
                        help_text="Where the object is whose history this is.",
                        max_length=16,
                    ),
                ),
                ("bookmark", models.CharField(max_length=200)),
                ("taken", models.DateTimeField(help_text="When the bookmark was taken, or the moment that it stands for.")),
                (
                    "reason",
                    models.CharField(
                        choices=[
                            ("migration", "Before a migration"),
                            ("restore", "Before a restore"),
                            ("request", "By tenant_bookmark"),
                        ],
                        max_length=10,
                    ),
                ),
                (
                    "fingerprint",
                    models.CharField(
                        blank=True, help_text="The schema fingerprint that the ledger had at that time.", max_length=64
                    ),
                ),
                ("fence", models.BigIntegerField(default=0, help_text="The fencing token of the operation that took it.")),
                ("used", models.DateTimeField(blank=True, help_text="When the restore to it, or from it, had finished.", null=True)),
            ],
            options={
                "ordering": ["-taken", "-pk"],
                "default_permissions": (),
                "indexes": [models.Index(fields=["slug", "taken"], name="do_bridge_bookmark_slug")],
            },
        ),
    ]
