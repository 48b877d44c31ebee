"""The home of one tenant: links to its pages, its state, and its actions."""

import logging

from django.contrib import messages
from django.http import Http404, HttpResponseRedirect
from django.shortcuts import render
from django.urls import NoReverseMatch, get_script_prefix, reverse

from do_bridge.admin.refusals import PermissionMissing
from do_bridge.prices import dollars_text
from do_bridge.tenancy import current_tenant
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.links import tenant_root
from do_bridge.tenancy.tenants import tenant_model

from ..access import CHANGE, RUN_SQL, inspection, page_context
from ..inspected import Inspected
from ..reading.facts import facts, ledger_states
from ..usage.reading import month_dollars
from . import work
from .forms import CopyForm, DeleteForm, RestoreForm

logger = logging.getLogger("do_bridge.inspection")


def permissions(name):
    """Return the permissions that a work needs: "copy", "restore", "delete" or "dump"."""
    options = tenant_model()._meta
    add, delete = (f"{options.app_label}.{verb}_{options.model_name}" for verb in ("add", "delete"))
    return {
        "copy": (add, RUN_SQL),
        "restore": (CHANGE, RUN_SQL, delete),
        "delete": (delete,),
        "dump": (RUN_SQL,),
    }[name]


@inspection
def home(site, request, database):
    """Show a tenant's home, or do what one of its forms asks for."""
    if not database.slug or current_tenant() is not None:
        raise Http404("Only tenants have a home, and only in the admin of the shared database.")
    forms = {
        "copy": CopyForm(),
        "restore": RestoreForm(database.slug),
        "delete": DeleteForm(database.slug),
    }
    asked = request.POST.get("do", "")
    if request.method == "POST" and asked in forms:
        if missing := [needed for needed in permissions(asked) if not request.user.has_perm(needed)]:
            raise PermissionMissing(*missing)
        forms[asked] = form = _bound(asked, database.slug, request)
        if form.is_valid() and (answer := _done(site, request, asked, database, form)) is not None:
            return answer
    context = page_context(site, request, database, title=f"Home of {database.slug}", tab="home", forms=forms)
    context.update(_about(site, request, database))
    context["allowed"] = {name: request.user.has_perms(permissions(name)) for name in (*forms, "dump")}
    return render(request, "do_bridge/inspection/home/home.html", context)


def _bound(asked, slug, request):
    if asked == "copy":
        return CopyForm(request.POST)
    kind = RestoreForm if asked == "restore" else DeleteForm
    return kind(slug, request.POST, request.FILES)


def _done(site, request, asked, database, form):
    """Carry out the action; return a redirect, or None after an error.

    The form then shows the error.
    """
    values, slug = form.cleaned_data, database.slug
    try:
        if asked == "copy":
            told, shown = work.copy(slug, values["slug"], values.get("name")), Inspected(values["slug"])
        elif asked == "restore":
            told, shown = work.restore(slug, values["file"]), database
        else:
            told, shown = work.delete(slug), None
    except work.Refused as error:
        form.add_error(None, str(error))
        return None
    logger.info("User %s: %s of tenant %s", request.user.pk, asked, slug)
    messages.success(request, told)
    if shown is None:
        return HttpResponseRedirect(reverse("admin:databases"))
    return HttpResponseRedirect(reverse("admin:tenant_home", args=[shown]))


def _about(site, request, database):
    tenant = tenant_model()._base_manager.using(conf("DIRECTORY_ALIAS")).get(slug=database.slug)
    live = facts(database)
    root = tenant_root(request, database.slug)
    index = reverse("admin:index").removeprefix(get_script_prefix())
    return {
        "tenant": tenant,
        "live": live,
        "noted": dict(ledger_states([database.slug]))[database.slug],
        "dollars": dollars_text(month_dollars({database.alias: live["size"]})[database.alias]),
        "tenant_url": root,
        "tenant_admin_url": f"{root}{index}",
        "edit_url": _edit_url(site, request, tenant),
    }


def _edit_url(site, request, tenant):
    """Return the URL of the tenant's form in the admin.

    Return None if there is no such form, or the user may not open it.
    """
    options = tenant._meta
    if not request.user.has_perm(f"{options.app_label}.change_{options.model_name}"):
        return None
    try:
        return reverse(f"admin:{options.app_label}_{options.model_name}_change", args=[tenant.pk])
    except NoReverseMatch:
        return None
