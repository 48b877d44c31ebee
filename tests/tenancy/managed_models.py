"""Managers as other packages write them; a project of its own in a process of its own."""

import abc
import os
import sys
from pathlib import Path
from typing import Generic, Protocol, TypeVar, final

T = TypeVar("T")
ROOT = Path(__file__).parent.parent.parent


def managers(models):
    """Return the manager classes."""

    class Mixin(Generic[T]):
        """As in django-model-utils."""

    class Slotted:
        __slots__ = ()

    class Walks(Protocol):
        def walk(self): ...

    class MixinFirst(Mixin[T], models.Manager):
        pass

    class GenericFirst(Generic[T], models.Manager):
        pass

    class GenericLast(models.Manager, Generic[T]):
        pass

    class WithSlots(Slotted, models.Manager):
        pass

    class Abstract(models.Manager, abc.ABC):
        pass

    class Walking(models.Manager, Walks):
        def walk(self):
            return None

    class Delegating(models.Manager):
        def __getattr__(self, name):
            if name.startswith("_"):
                raise AttributeError(name)
            return getattr(self.get_queryset(), name)

    @final
    class Final(models.Manager):
        def get_queryset(self):
            return super().get_queryset().order_by("pk")

    class Own(models.Manager):
        def get_queryset(self):
            return models.QuerySet(self.model, using=self._db)

    class Rows(models.QuerySet, Generic[T]):
        pass

    made = [MixinFirst, GenericFirst, GenericLast, WithSlots, Abstract, Walking, Delegating, Final, Own]
    return [*made, models.Manager.from_queryset(Rows)]


def main():
    sys.path.insert(0, str(ROOT))
    os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"
    from django.conf import settings

    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "TENANT_MODELS": ("blog", "sites")}
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django.contrib.sites"]
    import django
    from django.db import models

    django.setup()
    from django.contrib.sites.models import Site

    from do_bridge.tenancy import tenant_context

    for number, manager in enumerate(managers(models)):
        Site.add_to_class(f"manager{number}", manager())
    for number, manager in enumerate(managers(models)):
        with tenant_context("acme"):
            found = getattr(Site, f"manager{number}").all()
        assert found.db == "tenant/acme", manager
        assert getattr(Site, f"manager{number}").using("default").db == "default", manager


if __name__ == "__main__":
    main()
