from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='SavedQuery',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100)),
                ('database', models.CharField(blank=True, help_text='"shared", "tenant/<slug>", or empty for all databases.', max_length=80)),
                ('sql', models.TextField()),
                ('author', models.CharField(help_text='The name of the user who saved it.', max_length=150)),
                ('saved', models.DateTimeField()),
            ],
            options={
                'verbose_name_plural': 'saved queries',
                'ordering': ['name'],
                'default_permissions': (),
                'constraints': [models.UniqueConstraint(fields=('database', 'name'), name='do_bridge_inspection_query_name')],
            },
        ),
    ]
