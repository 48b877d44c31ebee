from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='TenantState',
            fields=[
                ('slug', models.CharField(max_length=63, primary_key=True, serialize=False)),
                ('fingerprint', models.CharField(blank=True, help_text='The schema fingerprint, as last read from the object.', max_length=64)),
                ('state', models.CharField(choices=[('ready', 'Ready'), ('migrating', 'Migrating'), ('failed', 'Failed'), ('deleted', 'Deleted')], db_index=True, max_length=10)),
                ('since', models.DateTimeField(help_text='When the object reached this state.')),
                ('doing', models.CharField(blank=True, help_text='What was begun last.', max_length=200)),
                ('version', models.CharField(blank=True, help_text='The version of the code that reached this state.', max_length=100)),
                ('error', models.TextField(blank=True)),
                ('size', models.BigIntegerField(blank=True, help_text='Bytes on disk, as last seen.', null=True)),
                ('checked', models.DateTimeField(blank=True, help_text='When the object was last checked.', null=True)),
            ],
            options={
                'verbose_name': "tenant's state",
                'verbose_name_plural': "tenants' states",
                'permissions': [('run_sql', 'Can read any database by SQL')],
                'ordering': ['slug'],
            },
        ),
    ]
