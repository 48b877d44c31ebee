"""The pages about all databases: the list, its live numbers, and the actions."""

from contextlib import suppress

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import FileResponse, Http404, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.urls import reverse

from do_bridge import driver
from do_bridge.admin.switcher import matching
from do_bridge.tenancy import InvalidSlug, current_tenant, validate_slug
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.schema import known
from do_bridge.tenancy.tenants import row_annotations, tenant_model

from .. import actions
from ..access import check_scope, inspection, page_context
from ..inspected import SHARED, DatabaseConverter, Inspected
from ..reading.facts import facts, ledger_states

PAGE_SIZE = 50


@inspection
def database_list(site, request):
    """Show D1 and the tenants, from D1 alone.

    The page loads each row's live facts by itself.
    """
    if current_tenant() is not None:
        return HttpResponseRedirect(reverse("admin:database", args=[Inspected(current_tenant())]))
    query = request.GET.get("q", "").strip()
    tenants = tenant_model()._base_manager.using(conf("DIRECTORY_ALIAS")).order_by("slug")
    if query:
        tenants = tenants.filter(matching(query))
    # More that a tenant's look-up reads, e.g. whether its members' copies are out of sync.
    page = Paginator(tenants.annotate(**row_annotations()), PAGE_SIZE).get_page(request.GET.get("p"))
    found = {tenant.slug: tenant for tenant in page.object_list}
    states = ledger_states(list(found))
    _learn_schemas(state for _, state in states)
    rows = [{**_listed(Inspected(slug), state), "tenant": found[slug]} for slug, state in states]
    if page.number == 1 and not query:
        rows.insert(0, {"database": Inspected(), "state": "", "text": "", "known": None})
    context = page_context(site, request, title="Databases", query=query, page=page, rows=rows)
    context["actions"] = actions.available(request.user)
    context["pages"] = page.paginator.get_elided_page_range(page.number, on_each_side=2, on_ends=1)
    return render(request, "do_bridge/inspection/fleet/databases.html", context)


def _learn_schemas(states):
    """Load the schemas of the ledger's `states` into this process.

    Takes one round trip if one of them is new.
    """
    marks = {state.fingerprint for state in states if state is not None and state.state == ledger.READY}
    if unknown := [mark for mark in marks if mark and known.migrations_of(mark) is None]:
        with suppress(ledger.LedgerMissing):
            for applied in ledger.schemas(unknown).values():
                known.learn(applied)


def _listed(database, state):
    """Return a row of the list, with the state from the ledger.

    The page then loads the live numbers.
    """
    if state is None:
        return {"database": database, "state": "unknown", "text": "not in the ledger", "known": None}
    if ledger.is_ready(state) and not state.error:
        if known.is_known_usable(state.fingerprint):
            return {"database": database, "state": "head", "text": "up to date", "known": state}
        return {"database": database, "state": "behind", "text": "out of date", "known": state}
    kind = "failed" if state.error else "migrating" if state.operation else state.state
    return {"database": database, "state": kind, "text": state.status, "known": state}


@inspection
def facts_json(site, request, database):
    """Return one database's live numbers, or that it does not answer.

    Takes about facts.SECONDS at most.
    """
    return JsonResponse(facts(database))


# Actions


@inspection
def action(site, request):
    """Ask for confirmation of an action, and with `confirmed` take it."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    wanted = actions.ACTIONS.get(request.POST.get("action", ""))
    if wanted is None or not wanted.is_available:
        messages.warning(request, "No action selected.")
        return _back()
    if not request.user.has_perm(wanted.permission):
        raise PermissionDenied
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
        command = f" For all of them use the command {wanted.command}." if wanted.command else ""
        return f"Select at most {actions.MOST} databases.{command}"
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
