"""The frame of one database's pages, its rows and its structure, without a browser."""

import re

import pytest
from django.contrib.auth.models import Group
from django.urls import reverse

from blog.models import Post
from do_bridge import driver
from do_bridge.inspection.inspected import Inspected
from tests.inspection.pages import ACME, D1, LOOK, plain, text

GLOBEX = "/admin/databases/tenant/globex/"


def test_each_page_names_the_database_that_it_shows_and_no_other(root, write_post):
    key = write_post()
    pages = ("", "structure/", "structure/blog_post/", "sql/", "migrations/", "health/", "tables/blog_post/")
    for path in (*pages, f"tables/blog_post/rows/{key}/"):
        page = text(root.get(ACME + path))
        assert re.search(r"<title>[^<]*Tenant acme[^<]*</title>", page), path
        assert '<span id="site-name">Tenant acme</span>' in page, path
        assert '<a class="chip tenant" href="/admin/databases/tenant/acme/">Tenant acme</a>' in page, path
        assert "D1, the shared database" not in page, path
    assert '<a class="chip d1"' in text(root.get(D1))


def test_own_tables_come_first_with_their_rows_and_djangos_are_folded(root, write_post, scratch):
    write_post()
    scratch('CREATE TABLE "stray" (id integer PRIMARY KEY)')
    side = text(root.get(f"{ACME}tables/blog_post/")).partition('<nav aria-label="Tables">')[2]
    own, folded = side.partition("</nav>")[0].split("<details>")
    assert re.search(
        r'aria-current="true"><span class="name"[^>]*>blog_post</span> <span class="count">1</span>', own
    )
    assert ">stray</span>" in own
    assert "auth_group" not in own
    assert ">django_migrations</span>" in folded
    assert "blog_post" not in folded
    assert "<details open>" in text(root.get(f"{ACME}tables/django_migrations/"))


def test_the_tables_are_filtered_without_javascript(root, site):
    page = text(root.get(f"{ACME}?table=POST"))
    assert "blog_post" in page
    assert "accounts_user" not in page.partition("<aside")[2].partition("</aside>")[0]


def test_a_large_table_takes_two_trips_of_its_database(root, scratch, caplog):
    scratch(
        'CREATE TABLE "large" (id integer PRIMARY KEY, n integer, word text)',
        "INSERT INTO large SELECT value, value % 7, 'word ' || value FROM (WITH RECURSIVE c(value) AS "
        "(SELECT 1 UNION ALL SELECT value + 1 FROM c WHERE value < 100000) SELECT value FROM c)",
    )

    def trips(path):
        root.get(path)  # what a process learns once
        with driver.count_trips() as counted:
            page = root.get(path)
        assert page.status_code == 200, path
        return counted.count

    shared = trips("/admin/password_change/")  # the session and the user
    for path in (
        "",
        "tables/large/",
        "tables/large/?c=word&o=has&v=99&sort=-n&p=20",
        "tables/large/rows/50000/",
        "structure/",
        "structure/large/",
        "migrations/",
    ):
        # Two of the database; one of D1 says that there is such a tenant, or is cached.
        extra = 1 if path == "migrations/" else 0  # the ledger's row
        assert trips(ACME + path) - shared == 2 + extra, path
    page = plain(root.get(f"{ACME}tables/large/"))
    assert "10000+ rows, showing 1–50" in page


def test_a_row_has_its_neighbours_its_targets_and_what_points_to_it(root, site, write_post):
    keys = [write_post(title=f"Title {n}") for n in range(3)]
    page = text(root.get(f"{ACME}tables/blog_post/rows/{keys[1]}/"))
    rows = f"{ACME}tables/blog_post/rows"
    assert f'rel="prev" href="{rows}/{keys[0]}/"' in page
    assert f'rel="next" href="{rows}/{keys[2]}/"' in page
    assert f'href="{ACME}tables/accounts_user/rows/{site.ada.pk}/">→ accounts_user {site.ada.pk}</a>' in page
    assert 'rel="prev"' not in text(root.get(f"{rows}/{keys[0]}/"))
    assert 'rel="next"' not in text(root.get(f"{rows}/{keys[2]}/"))
    user = text(root.get(f"{ACME}tables/accounts_user/rows/{site.ada.pk}/"))
    assert f'{ACME}tables/blog_post/?c=user_id&amp;o=is&amp;v={site.ada.pk}">blog_post' in user
    assert re.search(r'blog_post<span class="quiet">\.user_id</span></a> <span class="count">3</span>', user)


def test_rows_without_rowid_have_neighbours_too(root, scratch):
    scratch(
        'CREATE TABLE "pairs" (a integer, b text, PRIMARY KEY (a, b)) WITHOUT ROWID',
        "INSERT INTO pairs VALUES (1, 'x'), (1, 'y'), (2, 'a')",
    )
    links = re.findall(r'data-row="([^"]*)"', text(root.get(f"{ACME}tables/pairs/")))
    page = root.get(links[1].replace("&quot;", '"'))
    assert re.findall(r'rel="(prev|next)"', text(page)) == ["prev", "next"]


def test_a_text_of_a_megabyte_makes_no_long_page(root, scratch):
    scratch(
        'CREATE TABLE "long" (id integer PRIMARY KEY, t text)',
        "INSERT INTO long VALUES (1, replace(hex(zeroblob(500000)), '0', 'z'))",
    )
    assert len(text(root.get(f"{ACME}tables/long/"))) < 60_000
    value = root.get(f"{ACME}tables/long/rows/1/value.json?c=t").json()
    assert (value["kind"], value["length"], len(value["text"])) == ("text", 1_000_000, 1_000_000)
    assert root.get(f"{ACME}tables/long/rows/1/value.json?c=nosuch").status_code == 404
    assert root.get(f"{ACME}tables/long/rows/2/value.json?c=t").status_code == 404


def test_a_secret_is_no_value_either(root, site):
    url = f"{D1}tables/accounts_user/rows/{site.root.pk}/value.json"
    assert root.get(f"{url}?c=password").status_code == 404
    assert root.get(f"{url}?c=username").json()["text"] == "root"


def test_times_are_shown_without_their_microseconds(root, write_post):
    write_post()
    assert re.search(
        r'data-column="created">20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\s*</td>',
        text(root.get(f"{ACME}tables/blog_post/")),
    )


def test_edit_leads_to_the_models_form_in_the_right_database(root, site, write_post):
    key = write_post()
    form = f"/t/acme/admin/blog/post/{key}/change/"
    page = root.get(f"{ACME}tables/blog_post/rows/{key}/")
    assert f'href="{form}"' in text(page)
    assert root.get(form).status_code == 200
    assert root.get(f"{ACME}tables/blog_post/rows/{key}/edit/").headers["Location"] == form
    inside = f"/t/acme/admin/databases/tenant/acme/tables/blog_post/rows/{key}/"
    assert f'href="{form}"' in text(root.get(inside))
    group = Group.objects.create(name="Editors")
    shared = text(root.get(f"{D1}tables/auth_group/rows/{group.pk}/"))
    assert f'href="/admin/auth/group/{group.pk}/change/"' in shared
    group.delete()
    # The copies of members cannot be changed.
    assert root.get(f"{ACME}tables/accounts_user/rows/{site.ada.pk}/edit/").status_code == 404


def test_the_create_text_is_coloured_and_stays_what_it_is(root, site):
    page = text(root.get(f"{ACME}structure/blog_post/"))
    code = page.partition('aria-label="CREATE statement">')[2].partition("</pre>")[0]
    assert '<span class="tok-keyword">CREATE</span>' in code
    assert "<style" not in page
    assert " style=" not in page


def test_the_diagram_has_a_link_for_each_box(root, site):
    page = text(root.get(f"{ACME}structure/"))
    assert re.search(rf'<a class="er-box" href="{ACME}structure/blog_post/" data-box="blog_post">', page)
    assert "<title>blog_post.user_id → accounts_user</title>" in page
    assert "auth_group" not in page.partition("<svg")[2].partition("</svg>")[0]
    assert 'data-box="auth_group"' in text(root.get(f"{ACME}structure/?all=1"))


# The switcher


@pytest.mark.parametrize(
    ("page", "slug", "leads_to"),
    [
        (f"{ACME}tables/blog_post/", "globex", f"{GLOBEX}tables/blog_post/"),
        (f"{ACME}tables/blog_post/rows/1/", "globex", f"{GLOBEX}tables/blog_post/"),
        (f"{ACME}structure/blog_post/", "", f"{D1}structure/blog_post/"),
        (f"{ACME}sql/", "globex", f"{GLOBEX}sql/"),
        ("/admin/accounts/user/", "acme", "/t/acme/admin/accounts/user/"),
        ("/admin/accounts/tenant/", "acme", "/t/acme/admin/"),
        ("/elsewhere/", "acme", "/t/acme/admin/"),
        ("/t/acme/admin/blog/post/", "globex", "/t/globex/admin/blog/post/"),
        ("/t/acme/admin/blog/post/", "", "/admin/"),
        (
            "/t/acme/admin/databases/tenant/acme/tables/blog_post/",
            "globex",
            "/t/globex/admin/databases/tenant/globex/tables/blog_post/",
        ),
        ("/t/acme/admin/databases/tenant/acme/health/", "", f"{D1}health/"),
    ],
)
def test_the_switcher_keeps_the_page(root, page, slug, leads_to):
    site = "/t/acme/admin/" if page.startswith("/t/acme/") else "/admin/"
    found = root.get(f"{site}switch/tenants.json", {"from": page}).json()["databases"]
    assert {item["slug"]: item["url"] for item in found}[slug] == leads_to


def test_the_databases_used_last_come_first(root, site):
    for path in (GLOBEX, D1, f"{ACME}health/", "/t/globex/admin/", D1):
        assert root.get(path).status_code == 200
    found = root.get("/admin/switch/tenants.json", {"from": "/admin/"}).json()["databases"]
    assert [item["slug"] for item in found] == ["globex", "acme", ""]
    assert [item["is_recent"] for item in found] == [True, True, False]
    assert found[-1]["is_current"]
    cookie = root.cookies["do_bridge_recent"]
    assert cookie.value == "_.globex.acme"
    assert cookie["httponly"]
    root.cookies["do_bridge_recent"] = "../x.acme.<b>.nobody"
    found = root.get("/admin/switch/tenants.json", {"from": GLOBEX}).json()["databases"]
    assert [item["slug"] for item in found][:1] == ["acme"]


# What is not allowed


def test_a_refusal_names_the_permission_that_is_missing(staff, site):
    sam = staff(LOOK)
    for path, permission in (
        (f"{ACME}tables/blog_post/", "blog.view_post"),
        (f"{ACME}tables/django_migrations/", "do_bridge.run_sql"),
        (f"{ACME}sql/", "do_bridge.run_sql"),
        ("/admin/accounts/user/", "accounts.view_user"),
        ("/admin/accounts/user/add/", "accounts.add_user"),
        ("/t/acme/admin/blog/post/", "blog.view_post"),
    ):
        page = sam.get(path)
        assert page.status_code == 403, path
        assert f"The permission <code>{permission}</code> is missing." in text(page), path


def test_staff_without_the_right_to_look_are_told_which_it_is(staff, site):
    page = staff("blog.view_post").get(ACME)
    assert f"The permission <code>{LOOK}</code> is missing." in text(page)


def test_every_page_has_a_url_of_its_own(site):
    names = ("database_structure", "database_health", "database_sql", "database_migrations")
    assert len({reverse(f"admin:{name}", args=[Inspected("acme")]) for name in names}) == 4
    assert Post._meta.db_table == "blog_post"
