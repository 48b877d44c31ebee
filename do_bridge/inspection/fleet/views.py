"""The pages about all databases: the list, its live numbers, and the actions."""

import logging

from django.contrib import messages
from django.db import DatabaseError, InterfaceError
from django.http import FileResponse, Http404, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.urls import reverse

from do_bridge import driver
from do_bridge.admin.refusals import PermissionMissing
from do_bridge.prices import dollars_text
from do_bridge.tenancy import InvalidSlug, current_tenant, tenant_alias, validate_slug
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.lifecycle import ledger

from .. import actions
from ..access import check_scope, inspection, page_context
from ..inspected import SHARED, DatabaseConverter, Inspected
from ..jobs.state import jobs
from ..jobs.work import available
from ..reading.facts import facts, ledger_states
from ..usage.counting import ALL_TENANTS
from ..usage.reading import month_dollars, note_looks
from . import job_views, listing

logger = logging.getLogger("do_bridge.inspection")


@inspection
def database_list(site, request):
    """Show D1 and the tenants, with what D1 has recorded about them.

    The number of round trips does not depend on the number of tenants. The page loads the live numbers of the
    rows that it shows by itself.
    """
    if current_tenant() is not None:
        return HttpResponseRedirect(reverse("admin:database", args=[Inspected(current_tenant())]))
    asked = listing.Asked.of(request.GET)
    found = listing.tenants(asked)
    tiles = listing.tiles(found)
    page = listing.page_of(found, asked, tiles, request.GET.get("p"))
    slugs = [tenant.slug for tenant in page.object_list]
    states = dict(ledger_states(slugs))
    rows = [{**_listed(tenant, states[tenant.slug]), "tenant": tenant} for tenant in page.object_list]
    if page.number == 1 and not asked.query and not asked.state:
        rows.insert(0, {"database": Inspected(), "state": "", "text": "", "known": None})
    sizes = {tenant_alias(tenant.slug): tenant.look_size for tenant in page.object_list}
    dollars = month_dollars({conf("DIRECTORY_ALIAS"): None, **sizes, ALL_TENANTS: tiles.size})
    for row in rows:
        row["dollars"] = dollars_text(dollars[row["database"].alias])
    context = page_context(site, request, title="Databases", asked=asked, page=page, rows=rows, tiles=tiles)
    context["actions"] = actions.available(request.user)
    context["job_actions"] = available(request.user)
    context["jobs"] = list(jobs()[:3])
    context["pages"] = page.paginator.get_elided_page_range(page.number, on_each_side=2, on_ends=1)
    context["states"] = [(name, label, tiles.of(name)) for name, label, _ in listing.STATES]
    context["state_label"] = {name: label for name, _, label in listing.STATES}.get(asked.state)
    context["all_dollars"] = None if asked.query else dollars_text(dollars[ALL_TENANTS])
    context["columns"] = _columns(request, asked)
    return render(request, "do_bridge/inspection/fleet/databases.html", context)


def _columns(request, asked):
    """Return {name: {"url", "sort"}} of the sortable columns.

    `url` sorts the list by the column. `sort` is its aria-sort, empty if the list has another order.
    """
    found = {}
    for name in ("slug", "size", "rows", "activity"):
        is_current = asked.order == name
        falls = (not asked.descending) if is_current else name != "slug"
        values = request.GET.copy()
        values.pop("p", None)
        values["o"] = f"-{name}" if falls else name
        sort = ("descending" if asked.descending else "ascending") if is_current else ""
        found[name] = {"url": f"?{values.urlencode()}", "sort": sort}
    return found


def _listed(tenant, state):
    """Return a row of the list, with the state from the ledger.

    The page then loads the live numbers.
    """
    row = {"database": Inspected(tenant.slug), "known": state, "state": tenant.kind}
    if tenant.kind == "head":
        return {**row, "text": "up to date"}
    if state is None:
        return {**row, "state": "unknown", "text": "not in the ledger"}
    if ledger.is_ready(state) and not state.error:
        return {**row, "text": "out of date"}
    kind = "failed" if state.error else "migrating" if state.operation else state.state
    return {**row, "state": kind, "text": state.status}


@inspection
def facts_json(site, request, database):
    """Return one database's live numbers, and store them for the list's order.

    If the database does not answer, return and store that instead. Takes about facts.SECONDS at most.
    """
    found = facts(database)
    try:
        note_looks({database.alias: found})
    except (DatabaseError, InterfaceError):
        logger.warning("What a look at %s found could not be stored", database.alias, exc_info=True)
    return JsonResponse(found)


# Actions


@inspection
def action(site, request):
    """Ask for confirmation of an action, and with `confirmed` take it."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if request.POST.get("scope") == "all":
        return job_views.start(site, request)
    wanted = actions.ACTIONS.get(request.POST.get("action", ""))
    if wanted is None or not wanted.is_available:
        messages.warning(request, "No action selected.")
        return _back()
    if not request.user.has_perm(wanted.permission):
        raise PermissionMissing(wanted.permission)
    chosen = _chosen(request.POST.getlist("database"), wanted)
    if (problem := _problem(wanted, chosen)) is not None:
        messages.warning(request, problem)
        return _back()
    if "confirmed" not in request.POST:
        context = page_context(site, request, title=wanted.label, action=wanted, chosen=chosen)
        return render(request, "do_bridge/inspection/fleet/confirm.html", context)
    if wanted.name == "dump":
        return _download(request, chosen[0])
    for database in chosen:
        went_well, said = actions.take(wanted, database)
        messages.add_message(request, messages.SUCCESS if went_well else messages.ERROR, said)
    return _back(chosen)


def _chosen(paths, wanted):
    """Return the databases that the URL names stand for.

    Raises Http404 for one outside this site.
    """
    chosen = []
    for path in dict.fromkeys(paths):
        try:
            if path != SHARED:
                validate_slug(path.removeprefix("tenant/"))
            database = DatabaseConverter().to_python(path)
        except InvalidSlug as error:
            raise Http404("This database does not exist.") from error
        check_scope(database)
        if database.slug or wanted.for_directory:
            chosen.append(database)
    return chosen


def _problem(wanted, chosen):
    if not chosen:
        return (
            f"Select the tenants to {wanted.label.lower()}."
            if not wanted.for_directory
            else "Choose databases."
        )
    if wanted.name == "dump" and len(chosen) > 1:
        return "Select one database to download."
    if len(chosen) > actions.MOST:
        return f"Select at most {actions.MOST} databases, or all that are listed, which starts a job."
    return None


def _download(request, database):
    try:
        file = actions.dump(database)
    except (actions.CommandError, driver.Error) as error:
        messages.error(request, f"{database.label}: the dump failed: {error}")
        return _back([database])
    return FileResponse(file, as_attachment=True, filename=f"{database.slug}.sqlite3")


def _back(chosen=()):
    if len(chosen) == 1:
        return HttpResponseRedirect(reverse("admin:database", args=[chosen[0]]))
    return HttpResponseRedirect(reverse("admin:databases"))
