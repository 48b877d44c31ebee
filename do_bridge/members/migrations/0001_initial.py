from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='DirtyFlag',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('slug', models.CharField(db_index=True, help_text='The slug of the tenant.', max_length=63)),
                ('user_key', models.CharField(blank=True, help_text='The primary key of the user, or empty for all members.', max_length=255)),
                ('since', models.DateTimeField()),
            ],
            options={
                'verbose_name': 'change not yet copied',
                'verbose_name_plural': 'changes not yet copied',
                'ordering': ['pk'],
            },
        ),
    ]
