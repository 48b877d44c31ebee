"""Django's dumpdata command, with a warning about tenants' rows."""

from django.apps import apps
from django.core.management.base import CommandError
from django.core.management.commands import dumpdata

from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.sides import is_tenant_model


class Command(dumpdata.Command):
    """Refuse to dump the tenants' template; warn of models whose rows are not in D1."""

    def handle(self, *app_labels, **options):
        databases = tenant_databases()
        if databases is None or options["database"] not in (databases.template, conf("DIRECTORY_ALIAS")):
            return super().handle(*app_labels, **options)
        labels = "".join(f" {label}" for label in app_labels)
        way = (
            f"To dump one tenant, run `manage.py tenant_command SLUG dumpdata{labels}`. To dump all tenants, "
            f"run `manage.py all_tenants_command dumpdata{labels}`."
        )
        if options["database"] == databases.template:
            raise CommandError(
                f"{databases.template!r} is only the template for tenants' databases and has no rows. {way}"
            )
        if names := _tenant_models(app_labels, options["exclude"]):
            warning = (
                f"This dump does not contain the rows of {', '.join(names)}, because they are in the "
                f"tenants' databases. {way}"
            )
            self.stderr.write(self.style.WARNING(warning))
        return super().handle(*app_labels, **options)


def _tenant_models(labels, excluded):
    """Return the sorted labels of the tenant models that this dump would contain."""
    wanted, left_out = ({label.lower() for label in given} for given in (labels, excluded))
    return sorted(
        model._meta.label
        for model in apps.get_models()
        if is_tenant_model(model) and (not wanted or wanted & _names(model)) and not left_out & _names(model)
    )


def _names(model):
    return {model._meta.app_label, model._meta.label_lower}
