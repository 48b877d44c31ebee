"""The databases that the switcher offers, and the page that each links to."""

from django.conf import settings
from django.db.models import Case, Q, Value, When
from django.urls import NoReverseMatch, Resolver404, get_script_prefix, resolve, reverse

from do_bridge.tenancy import current_tenant
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.lifecycle.tenant_rows import has_name
from do_bridge.tenancy.links import directory_root, tenant_root
from do_bridge.tenancy.slugs import is_valid_slug
from do_bridge.tenancy.tenants import tenant_model, with_valid_slugs

from .extensions import extensions

SEARCH_LIMIT = 20
LONGEST_QUERY = 63
D1 = "D1, the shared database"
COOKIE = "do_bridge_recent"
REMEMBERED = 8
_D1_MARK = "_"  # no slug has it
_MONTH = 30 * 86_400


def matching(query):
    """Return the condition for tenants whose slug or name contains `query`."""
    condition = Q(slug__icontains=query)
    return condition | Q(name__icontains=query) if has_name(tenant_model()) else condition


def search(query):
    """Return the tenants whose slug or name contains `query`.

    Each is a row {"slug", "name"}. Tenants whose slug begins with `query` come first. Takes one round trip.
    """
    query = query.strip()[:LONGEST_QUERY]
    begins = Case(When(slug__istartswith=query, then=Value(0)), default=Value(1))
    found = _tenants().filter(matching(query)).order_by(begins, "slug")
    return _rows(found[:SEARCH_LIMIT])


def offered(request, query, origin):
    """Return the databases that the switcher lists.

    Each is a dictionary with slug, name, label, url, is_recent and is_current. Without a query these are the
    databases used last, then D1 and the first tenants. `origin` is the path of the page that the user is on.
    Takes one round trip, or two.
    """
    match = _match(origin)
    current = shown_slug(match.kwargs if match else {})
    recent = [] if query else [slug for slug in recent_slugs(request) if slug != current]
    wanted = query.strip().lower()
    tenants = search(query)
    known = {row["slug"]: row["name"] for row in tenants}
    if missing := [slug for slug in recent if slug and slug not in known]:
        known |= {row["slug"]: row["name"] for row in _rows(_tenants().filter(slug__in=missing))}
    recent = [slug for slug in recent if not slug or slug in known]
    others = [row["slug"] for row in tenants]
    if wanted in D1.lower():
        others.insert(0, "")
    return [
        {
            "slug": slug,
            "name": known.get(slug, "") if slug else "",
            "label": f"Tenant {slug}" if slug else D1,
            "url": target_url(request, slug, match),
            "is_recent": slug in recent,
            "is_current": slug == current,
        }
        for slug in dict.fromkeys([*recent, *others])
    ]


def _tenants():
    return with_valid_slugs()


def _rows(tenants):
    if has_name(tenant_model()):
        return list(tenants.values("slug", "name"))
    return [{"slug": slug, "name": ""} for slug in tenants.values_list("slug", flat=True)]


def shown_slug(kwargs):
    """Return the slug of the database that a view shows.

    `kwargs` are the view's arguments. The slug is empty for D1.
    """
    return current_tenant() or getattr(kwargs.get("database"), "slug", "")


def target_url(request, slug, match):
    """Return the URL of the matched page for the database of `slug`.

    `match` is the ResolverMatch of a page, or None. An empty slug means D1. If that database has no such
    page, or `match` is None, return the start page of its admin.
    """
    if match is not None:
        for extension in extensions():
            if found := extension.switched_url(request, match, slug):
                return found
    root = tenant_root(request, slug) if slug else directory_root(request)
    urls = conf("TENANT_URLCONF") if slug else settings.ROOT_URLCONF
    names = ["admin:index"]
    if match is not None and match.url_name and match.url_name.endswith("_changelist"):
        names.insert(0, f"admin:{match.url_name}")
    for name in names:
        try:
            return root + reverse(name, urlconf=urls).removeprefix(get_script_prefix())
        except NoReverseMatch:
            continue
    return root


def _match(origin):
    """Return the ResolverMatch of a path of this site's admin, or None."""
    prefix = get_script_prefix()
    if not origin.startswith(prefix):
        return None
    try:
        match = resolve("/" + origin.removeprefix(prefix))
    except Resolver404:
        return None
    return match if "admin" in match.app_names else None


# The databases that were used last


def recent_slugs(request):
    """Return the slugs of the databases used last, the latest first; empty for D1."""
    marks = request.COOKIES.get(COOKIE, "").split(".")[:REMEMBERED]
    return ["" if mark == _D1_MARK else mark for mark in marks if mark == _D1_MARK or is_valid_slug(mark)]


def remember(request, response, slug):
    """Put `slug` first in the cookie that lists the databases used last.

    Do nothing if it is first already, or if the response is not a 200.
    """
    before = recent_slugs(request)
    if response.status_code != 200 or before[:1] == [slug]:
        return
    slugs = [slug, *(other for other in before if other != slug)][:REMEMBERED]
    response.set_cookie(
        COOKIE,
        ".".join(slug or _D1_MARK for slug in slugs),
        max_age=_MONTH,
        domain=settings.SESSION_COOKIE_DOMAIN,
        path=settings.SESSION_COOKIE_PATH,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
