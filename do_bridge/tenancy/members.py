"""A tenant's row in D1, made last where a tenant is loaded, and the signal that it was filled."""

from django.dispatch import Signal

from .conf import conf
from .directory import tenant_model
from .tenant_rows import has_name, row_values

#: Sent with `target`, the slug of a tenant that was filled by a load or a copy, that took over an object,
#: or whose creation somebody else finished, and `source`, the slug of the one that it was copied from, or None: members' places are the project's.
tenant_filled = Signal()


def add_tenant_row(slug, name=None, fields=None):
    """Return the row of tenant `slug` in the directory, made where it is not there yet; `fields` by name."""
    model = tenant_model()
    defaults = row_values(slug, name, fields)
    tenant, created = model._base_manager.using(conf("DIRECTORY_ALIAS")).get_or_create(
        slug=slug, defaults=defaults
    )
    if not created and name and has_name(model) and tenant.name != name:
        tenant.name = name
        tenant.save(using=conf("DIRECTORY_ALIAS"), update_fields=["name"])
    return tenant
