"""The pages of jobs, which start, show, stop and resume them.

A job works on all tenants that the list shows.
"""

from django.contrib import messages
from django.http import Http404, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.urls import reverse

from do_bridge.admin.refusals import PermissionMissing
from do_bridge.tenancy import alias_slug, current_tenant

from ..access import inspection, page_context
from ..inspected import Inspected
from ..jobs import running, state
from ..jobs.models import Item, Job
from ..jobs.work import JOBS
from . import listing

#: Failed databases that the page names, and databases that the confirmation names.
SHOWN = 100
SAMPLE = 8


def start(site, request):
    """Ask for confirmation of an action on all tenants that the list shows.

    With `confirmed` start the action.
    """
    wanted = JOBS.get(request.POST.get("action", ""))
    if wanted is None or not wanted.is_available:
        messages.warning(request, "Select an action that can be taken on all tenants: " + _names() + ".")
        return HttpResponseRedirect(reverse("admin:databases"))
    _require(request, wanted)
    asked = listing.Asked.of(request.POST)
    slugs = listing.slugs_of(asked)
    if not slugs:
        messages.warning(request, "No tenant matches, so nothing was started.")
        return HttpResponseRedirect(reverse("admin:databases"))
    if "confirmed" not in request.POST:
        context = page_context(site, request, title=wanted.label, action=wanted, asked=asked)
        context.update(count=len(slugs), sample=slugs[:SAMPLE], more=max(0, len(slugs) - SAMPLE))
        return render(request, "do_bridge/inspection/fleet/confirm_all.html", context)
    return _started(state.start(wanted.name, slugs, request.user.get_username()))


def _started(job):
    running.run_in_thread(job)
    return HttpResponseRedirect(reverse("admin:databases_job", args=[job.pk]))


def _names():
    return ", ".join(action.label for action in JOBS.values() if action.is_available)


def _require(request, action):
    if not request.user.has_perm(action.permission):
        raise PermissionMissing(action.permission)


@inspection
def job(site, request, key):
    """Show a job, and stop it, take it up again, or try its failed databases again."""
    found = _job(key)
    if request.method == "POST":
        return _change(request, found)
    numbers = _looked_after(found)
    failed = state.items(found).filter(outcome=Item.Outcome.FAILED).order_by("database")
    context = page_context(site, request, title=f"{JOBS[found.action].label}: job {found.pk}", job=found)
    context.update(_state(found, numbers), action=JOBS[found.action])
    context["failures"] = [(Inspected(alias_slug(item.database)), item.text) for item in failed[:SHOWN]]
    context["may_change"] = request.user.has_perm(JOBS[found.action].permission)
    return render(request, "do_bridge/inspection/fleet/job.html", context)


@inspection
def job_json(site, request, key):
    """Return the state of a job for its page, as JSON.

    A job whose worker was killed is resumed.
    """
    found = _job(key)
    return JsonResponse(_state(found, _looked_after(found)))


def _job(key):
    found = state.jobs().filter(pk=key).first() if current_tenant() is None else None
    if found is None or found.action not in JOBS:
        raise Http404("This job does not exist. The last 50 are kept.")
    return found


def _looked_after(found):
    """Return the numbers of a job, whose work goes on here if its worker has gone."""
    if state.is_left_alone(found):
        running.run_in_thread(found)
    return state.progress(found)


def _state(found, numbers):
    done = numbers["ok"] + numbers["failed"]
    text = f"{done} of {found.total} databases, {numbers['failed']} failed."
    words = {
        Job.State.RUNNING: "The job continues if you leave this page.",
        Job.State.DONE: "The job has ended.",
        Job.State.STOPPED: "The job was stopped. It can be continued.",
    }
    return {
        "state": found.state,
        "total": found.total,
        "done": done,
        **numbers,
        "text": text,
        "hint": words[found.state],
    }


def _change(request, found):
    _require(request, JOBS[found.action])
    what = request.POST.get("do")
    if what == "stop":
        state.stop(found)
    elif what == "continue":
        state.go_on(found)
        found.refresh_from_db(using=found._state.db)
        running.run_in_thread(found)
    elif what == "retry":
        failed = state.items(found).filter(outcome=Item.Outcome.FAILED).order_by("database")
        slugs = [alias_slug(alias) for alias in failed.values_list("database", flat=True)]
        if slugs:
            return _started(state.start(found.action, slugs, request.user.get_username()))
    return HttpResponseRedirect(reverse("admin:databases_job", args=[found.pk]))
