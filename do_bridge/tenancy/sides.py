"""Says of each model where its rows live: in the tenants' objects, by the context, or in the directory."""

from functools import lru_cache

from .conf import conf


@lru_cache(maxsize=1024)
def _names_model(model, names):
    """Say whether `names` (app labels and "app.Model") name `model`, its concrete model or its owner."""
    owner = model._meta.auto_created or model
    labels = {owner._meta.label_lower, owner._meta.app_label}
    if (concrete := owner._meta.concrete_model) is not None:
        # A proxy has its model's rows, whichever app it is in.
        labels |= {concrete._meta.label_lower, concrete._meta.app_label}
    return any(name.lower() in labels or name in labels for name in names)


def is_tenant_model(model):
    """Say whether the rows of `model` live in the tenants' objects."""
    return _names_model(model, tuple(conf("TENANT_MODELS")))


def is_context_model(model):
    """Say whether the rows of `model` follow the context, and are the directory's where none is current."""
    return _names_model(model, tuple(conf("CONTEXT_MODELS")))


def follows_context(model):
    """Say whether rows of `model` are read where the context says: a tenants' or a context model."""
    return is_tenant_model(model) or is_context_model(model)
