"""Where the rows of a model are: in tenants' databases, in D1, or in both."""

from functools import lru_cache

from .conf import conf


@lru_cache(maxsize=1024)
def _names_model(model, names):
    """Return whether `names` contain a model, its app or its concrete model.

    `names` are app labels and "app.Model". An automatically created many-to-many table belongs to the model
    that defines the field.
    """
    owner = model._meta.auto_created or model
    labels = {owner._meta.label_lower, owner._meta.app_label}
    if (concrete := owner._meta.concrete_model) is not None:
        # A proxy model has the rows of its concrete model, which may be in another app.
        labels |= {concrete._meta.label_lower, concrete._meta.app_label}
    return any(name.lower() in labels or name in labels for name in names)


def is_tenant_model(model):
    """Return whether the rows of `model` are in the tenants' databases."""
    return _names_model(model, tuple(conf("TENANT_MODELS")))


def is_context_model(model):
    """Return whether the rows of `model` follow the context.

    They are in D1 if no tenant is current.
    """
    return _names_model(model, tuple(conf("CONTEXT_MODELS")))


def follows_context(model):
    """Return whether `model` is a tenant model or a context model."""
    return is_tenant_model(model) or is_context_model(model)
