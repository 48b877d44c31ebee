"""The pages about databases: what they show of real ones, to whom, and what they leave unreached."""

import logging
import re
from html import unescape

import pytest
from django.db import connections
from django.urls import reverse
from django.utils.html import escape

from blog.models import Post
from do_bridge import driver
from do_bridge.inspection.inspected import Inspected
from do_bridge.inspection.reading import facts as facts_module
from do_bridge.inspection.reading import queries
from do_bridge.models import KnownSchema
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.schema import known
from do_bridge.tenancy.schema.fingerprint import code_migrations, of
from tests.inspection.pages import ACME, D1, LOOK, plain, text
from tests.tenancy.cut_off import cut_off


@pytest.fixture
def reached(caplog):
    """Tells which objects were asked since it was last called, from the driver's own log."""
    caplog.set_level(logging.DEBUG, "do_bridge.driver")

    def names():
        lines = [record.getMessage() for record in caplog.records if record.name == "do_bridge.driver"]
        caplog.clear()
        return [line.split()[1] for line in lines if " do:" in line]

    return names


@pytest.fixture
def register(site):
    """Registers tenants in D1 alone; takes them away again, and reaches no object of theirs."""
    from accounts.models import Tenant

    yield lambda slugs: Tenant.objects.bulk_create([Tenant(slug=slug, name=slug) for slug in slugs])
    Tenant.objects.exclude(slug__in=site.tenants)._raw_delete("default")


# The list


def test_the_list_shows_d1_and_each_tenant_and_reaches_none_of_their_objects(root, reached):
    root.get("/admin/databases/")
    reached()
    with driver.count_trips() as trips:
        page = root.get("/admin/databases/")
    assert trips.count <= 8
    assert reached() == []
    for path in (D1, ACME, "/admin/databases/tenant/globex/"):
        assert f'href="{path}"' in text(page)
        assert f'data-facts="{path}facts.json"' in text(page)


def test_the_list_is_searched_and_paged_in_as_many_trips_for_thousands(root, register):
    with driver.count_trips() as few:
        root.get("/admin/databases/")
    register(f"many-{n:04}" for n in range(2000))
    with driver.count_trips() as many:
        page = root.get("/admin/databases/?p=3")
    assert many.count <= few.count
    assert text(page).count("data-facts=") == 50
    assert '<a href="?p=41">41</a>' in text(page)
    found = text(root.get("/admin/databases/?q=many-0123"))
    assert found.count("data-facts=") == 1
    assert ">many-0123</a>" in found
    assert "No tenant matches" in text(root.get("/admin/databases/?q=nobody"))


def test_the_facts_of_a_database_are_its_own(root, write_post, site):
    write_post()
    found = root.get(f"{ACME}facts.json").json()
    assert found["state"] == "head"
    assert found["tables"] > 5
    assert found["rows"] > 20
    assert found["size"] % 4096 == 0 < found["size"]
    assert found["activity"].startswith("20")
    shared = root.get(f"{D1}facts.json").json()
    assert shared["state"] == "head"
    assert shared["size"] > 50_000


def test_a_tenant_that_is_busy_is_shown_as_slow_within_the_deadline(root, site, monkeypatch):
    monkeypatch.setattr(facts_module, "SECONDS", 0.4)
    with Inspected("globex").connect(5) as busy:
        busy.begin()
        busy.execute("SELECT 1")
        found = root.get("/admin/databases/tenant/globex/facts.json").json()
        busy.rollback()
    assert found["state"] == "slow"
    assert found["rows"] is None
    monkeypatch.undo()
    assert root.get(f"{ACME}facts.json").json()["state"] == "head"


def test_a_tenant_whose_relay_is_not_there_is_shown_as_dead_and_the_others_live(root, site):
    before = connections["tenant/globex"].settings_dict["HOST"]
    connections["tenant/globex"].settings_dict["HOST"] = "http://127.0.0.1:9"
    try:
        found = root.get("/admin/databases/tenant/globex/facts.json").json()
    finally:
        connections["tenant/globex"].settings_dict["HOST"] = before
    assert found["state"] in ("dead", "slow")
    assert (found["rows"], found["size"]) == (None, None)
    assert found["ms"] < 6000
    assert root.get(f"{ACME}facts.json").json()["state"] == "head"


def test_a_database_that_does_not_answer_has_a_page_that_says_so(root, site, monkeypatch):
    from do_bridge.inspection.database import pages

    monkeypatch.setattr(pages, "SECONDS", 0.3)
    with Inspected("globex").connect(5) as busy:
        busy.begin()
        busy.execute("SELECT 1")
        page = root.get("/admin/databases/tenant/globex/")
        busy.rollback()
    assert page.status_code == 503
    assert "Tenant globex does not answer" in text(page)


# A database


def test_a_databases_page_lists_its_tables_with_counts_and_keys(root, write_post, reached):
    write_post()
    write_post()
    reached()
    page = plain(root.get(ACME))
    assert len(reached()) == 2
    assert "Database: Tenant acme" in page
    assert re.search(r"blog_post 2 7: id, title, content, .*? user_id → accounts_user", page)
    assert "Schema: up to date" in page
    assert "matches the models" in page
    assert "_do_bridge_meta" not in page


def test_d1s_page_says_that_it_is_d1(root):
    assert "Database: D1, the shared database" in plain(root.get(D1))
    assert "accounts_tenant" in plain(root.get(D1))


def test_missing_and_unknown_migrations_are_named(root, site):
    with Inspected("acme").connect(10) as connection:
        connection.execute_batch(
            [
                ("UPDATE django_migrations SET name = '0001_other' WHERE app = 'blog'", None),
            ]
        )
    try:
        page = plain(root.get(f"{ACME}migrations/"))
        facts = root.get(f"{ACME}facts.json").json()
        told = "behind by 1, and has 1 that this code does not have"
        assert (facts["state"], facts["text"]) == ("behind", told)
    finally:
        with Inspected("acme").connect(10) as connection:
            connection.execute("UPDATE django_migrations SET name = '0001_initial' WHERE app = 'blog'")
    assert f"The schema is {told}" in page
    assert "Missing blog.0001_initial" in page
    assert "blog.0001_other" in page
    assert "up to date" in plain(root.get(f"{ACME}migrations/"))


@pytest.fixture
def newer(site):
    """Lets acme have a migration more than this code, which the ledger knows; returns its fingerprint."""
    applied = code_migrations() | {("shop", "0001")}
    with Inspected("acme").connect(10) as connection:
        connection.execute(
            "INSERT INTO django_migrations (app, name, applied) VALUES ('shop', '0001', '2026-01-01')"
        )
    ledger.reached("acme", of(applied))
    known.forget()
    yield of(applied)
    with Inspected("acme").connect(10) as connection:
        connection.execute("DELETE FROM django_migrations WHERE app = 'shop'")
    ledger.forget("acme")
    KnownSchema.objects.all().delete()
    known.forget()


def test_a_schema_with_more_than_this_code_needs_is_up_to_date(root, newer):
    told = "up to date, and has 1 that this code does not have"
    facts = root.get(f"{ACME}facts.json").json()
    assert (facts["state"], facts["text"]) == ("head", told)
    page = plain(root.get(f"{ACME}migrations/"))
    assert f"The schema is {told}" in page
    assert "They do no harm." in page
    assert "shop.0001" in page


def test_a_schema_with_more_is_too_new_for_code_that_requires_its_own(root, newer, settings):
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "REQUIRE_EXACT_SCHEMA": True}
    facts = root.get(f"{ACME}facts.json").json()
    assert (facts["state"], facts["text"]) == ("ahead", "newer than this code by 1")
    assert "REQUIRE_EXACT_SCHEMA" in plain(root.get(f"{ACME}migrations/"))


def test_the_list_knows_schemas_that_were_noted_and_asks_no_tenant(root, newer, trips):
    def listed():
        return re.search(r"acme.*?(up to date|out of date)", plain(root.get(reverse("admin:databases"))))[1]

    assert listed() == "out of date"
    ledger.note_schemas({newer: code_migrations() | {("shop", "0001")}})
    assert listed() == "up to date"
    before = trips.count
    assert listed() == "up to date"
    first = trips.count - before
    known.forget()
    before = trips.count
    listed()
    # They come with the fingerprints.
    assert trips.count - before == first


def test_the_ledgers_word_stands_beside_the_databases_own(root, site):
    cut_off("acme", "migrate", error="no such column")
    page = plain(root.get(f"{ACME}migrations/"))
    assert "State in the ledger: migrate failed since 20" in page
    assert ", by version do_bridge" in page
    assert "no such column" in page
    assert "The schema is up to date" in page
    assert "State in the ledger" not in plain(root.get(f"{D1}migrations/"))
    ledger.forget("acme")


def test_differences_from_the_models_are_named_one_by_one(root, scratch):
    assert root.get(f"{ACME}differences/").headers["Location"] == f"{ACME}structure/"
    assert "are the same" in plain(root.get(f"{ACME}structure/"))
    scratch('CREATE TABLE "stray" (id integer PRIMARY KEY)')
    change = [
        ("DROP INDEX blog_post_newest", None),
        ("CREATE INDEX own_index ON blog_post (title)", None),
        ("ALTER TABLE blog_post ADD COLUMN extra text", None),
        ("ALTER TABLE blog_post RENAME COLUMN updated TO changed", None),
    ]
    undo = [
        ("ALTER TABLE blog_post RENAME COLUMN changed TO updated", None),
        ("ALTER TABLE blog_post DROP COLUMN extra", None),
        ("DROP INDEX own_index", None),
        ("CREATE INDEX blog_post_newest ON blog_post (published_at DESC, id DESC)", None),
    ]
    with Inspected("acme").connect(10) as connection:
        connection.execute_batch(change)
        try:
            page = plain(root.get(f"{ACME}structure/"))
            beside = text(root.get(f"{ACME}structure/blog_post/"))
        finally:
            connection.execute_batch(undo)
    for said in (
        "stray table has no model",
        "blog_post column updated is missing",
        "blog_post column extra has no field",
        "blog_post index of published_at, id is missing",
        "blog_post index own_index has no field",
    ):
        assert said in page
    assert '<tr class="amber"><th scope="row">extra <span class="difference">has no field</span>' in beside
    assert '<tr class="amber"><th scope="row">own_index <span class="difference">has no field' in beside
    assert "<li>column updated is missing</li>" in beside


# Rows


def test_a_tables_rows_are_sorted_filtered_and_paged_by_the_url(root, site):
    Post.objects.using("tenant/acme").bulk_create(
        [Post(title=f"Title {n:02}", content="50% of it", user_id=site.ada.pk) for n in range(60)]
    )
    url = f"{ACME}tables/blog_post/"
    first = text(root.get(f"{url}?sort=-title"))
    assert first.index("Title 59") < first.index("Title 58")
    assert "Title 09" not in first
    assert "60 rows" in first
    second = text(root.get(f"{url}?sort=-title&p=2"))
    assert "Title 09" in second
    assert 'rel="next"' not in second
    assert 'rel="prev"' in second

    def titles(query):
        return re.findall(r"Title \d\d", plain(root.get(f"{url}?{query}")))

    assert titles("c=title&o=is&v=Title+07") == ["Title 07"] * 2  # in the filter's chip and in the row
    assert titles("c=title&o=has&v=LE+31") == ["Title 31"]
    assert titles("c=title&o=starts&v=title+4&c=title&o=lt&v=Title+41&sort=title") == ["Title 41", "Title 40"]
    assert len(titles("c=content&o=has&v=50%25")) == 50
    assert titles("c=published_at&o=null&v=") == []
    assert "60 rows" in text(root.get(f"{url}?c=nothing&o=is&v=1&sort=nothing&p=x"))


def test_hostile_names_and_values_stay_names_and_values(root, scratch):
    name = "we\"ird 'tab%le/;--"
    quoted = queries.quote(name)
    url = reverse("admin:database_table", args=[Inspected("acme"), name])
    scratch('CREATE TABLE "kept" (id integer PRIMARY KEY)')
    with Inspected("acme").connect(10) as connection:
        connection.execute(f'CREATE TABLE {quoted} ("a%s\'b" text PRIMARY KEY, "c""d" integer)')
        connection.execute(f"INSERT INTO {quoted} VALUES ('k/1 ?&%~2F', 1), ('..', 2)")
        try:
            assert f'href="{escape(url)}"' in text(root.get(ACME))
            page = root.get(url, {"c": "a%s'b", "o": "is", "v": "k/1 ?&%~2F", "sort": 'c"d'})
            assert "1 row," in plain(page)
            rows = re.findall(r'href="([^"]*/rows/[^"]*)"', text(root.get(url)))
            pages = [text(root.get(unescape(row))) for row in rows]
            assert ["k/1 ?&amp;%~2F" in page for page in pages] == [False, True]
            hostile = root.get(url, {"c": "a%s'b", "o": "is", "v": "' OR 1=1; DROP TABLE kept; --"})
            assert "0 rows" in plain(hostile)
        finally:
            connection.execute(f"DROP TABLE {quoted}")
    assert root.get(f"{ACME}tables/kept/").status_code == 200


def test_a_row_is_readable_in_full_with_its_blobs_and_long_texts(root, scratch):
    scratch(
        'CREATE TABLE "things" (code text PRIMARY KEY, long text, picture blob, big integer, part real, n)',
        "INSERT INTO things VALUES "
        "('x.y', printf('%.5000c', 'z') || 'end', x'00ff10', 9007199254740993, 5.0, NULL)",
    )
    listed = plain(root.get(f"{ACME}tables/things/"))
    assert "zend" not in listed
    assert "5003 characters" in listed
    page = plain(root.get(f"{ACME}tables/things/rows/x.y/"))
    for said in ("zend", "3 bytes 00FF10", "9007199254740993", "5.0", "NULL"):
        assert said in page
    assert root.get(f"{ACME}tables/things/rows/none/").status_code == 404


def test_a_row_leads_to_the_rows_that_it_points_to(root, write_post, site):
    key = write_post()
    page = text(root.get(f"{ACME}tables/blog_post/rows/{key}/"))
    target = f"{ACME}tables/accounts_user/rows/{site.ada.pk}/"
    assert f'href="{target}"' in page
    assert "ada" in plain(root.get(target))


def test_tables_without_a_key_without_rowid_and_views_are_shown(root, scratch):
    scratch(
        'CREATE TABLE "bare" (a text)',
        "INSERT INTO bare VALUES ('found')",
        'CREATE TABLE "pairs" (a integer, b text, PRIMARY KEY (a, b)) WITHOUT ROWID',
        "INSERT INTO pairs VALUES (1, 'found')",
        'CREATE TABLE "wide" (' + ", ".join(f"c{n}" for n in range(100)) + ")",
        "INSERT INTO wide (c99) VALUES ('found')",
    )
    for name in ("bare", "pairs", "wide"):
        assert "found" in plain(root.get(f"{ACME}tables/{name}/")), name
    assert "found" in plain(root.get(f"{ACME}tables/bare/rows/1/"))
    assert root.get(f"{ACME}tables/pairs/rows/1/").status_code == 404


def test_a_count_stops_where_it_would_read_too_much(root, scratch, monkeypatch):
    monkeypatch.setattr(queries, "COUNT_LIMIT", 5)
    scratch(
        'CREATE TABLE "many" (a integer)',
        "INSERT INTO many SELECT value FROM json_each('[1,2,3,4,5,6,7,8]')",
    )
    assert "many 5+" in plain(root.get(ACME))
    assert "5+ rows" in plain(root.get(f"{ACME}tables/many/"))


def test_passwords_and_sessions_are_shown_to_nobody(root, site):
    page = plain(root.get(f"{D1}tables/accounts_user/"))
    assert "root" in page
    assert "md5$" not in page
    row = plain(root.get(f"{D1}tables/accounts_user/rows/{site.root.pk}/"))
    assert "md5$" not in row
    assert "hidden, because it is a secret" in row
    assert "md5$" not in plain(root.get(f"{D1}tables/accounts_user/?c=password&o=starts&v=md5"))
    sessions = text(root.get(f"{D1}tables/django_session/"))
    assert root.cookies["sessionid"].value not in sessions


# Who may


def test_staff_without_the_right_see_no_database_and_no_link_to_one(staff):
    client = staff("blog.view_post")
    for path in (
        "/admin/databases/",
        ACME,
        D1,
        f"{ACME}facts.json",
        f"{ACME}sql/",
        f"{ACME}tables/blog_post/",
    ):
        assert client.get(path).status_code == 403, path
    assert "databases/" not in text(client.get("/admin/"))


def test_staff_who_may_look_read_rows_only_of_models_that_they_may_view(staff):
    client = staff(LOOK, "blog.view_post")
    assert client.get(ACME).status_code == 200
    assert client.get(f"{ACME}tables/blog_post/").status_code == 200
    assert client.get(f"{ACME}tables/accounts_user/").status_code == 403
    assert client.get(f"{ACME}tables/django_migrations/").status_code == 403
    assert client.get(f"{ACME}sql/").status_code == 403
    assert "accounts_user" in text(client.get(ACME))
    assert f"{ACME}tables/accounts_user/" not in text(client.get(ACME))


def test_sql_needs_a_superuser_and_not_the_permission_alone(staff):
    assert staff(LOOK, "do_bridge.run_sql").get(f"{ACME}sql/").status_code == 403


def test_who_is_not_signed_in_is_asked_to(client, site):
    assert client.get(ACME).headers["Location"] == f"/admin/login/?next={ACME}"


def test_a_tenants_admin_shows_its_own_database_and_no_other(root, site):
    inside = "/t/acme/admin/databases/"
    assert root.get(inside).headers["Location"] == f"{inside}tenant/acme/"
    page = text(root.get(f"{inside}tenant/acme/"))
    assert f'href="{inside}tenant/acme/tables/blog_post/"' in page
    for path in ("tenant/globex/", "shared/", "tenant/globex/facts.json", "shared/sql/"):
        assert root.get(inside + path).status_code == 404, path
    outside = {"action": "check", "database": "tenant/globex", "confirmed": "yes"}
    assert root.post(f"{inside}action/", outside).status_code == 404


def test_a_name_of_no_tenant_reaches_no_object(root, reached):
    reached()
    for name in ("nobody", "ACME", "..", "a" * 80, "acme%2f", "-", "shared"):
        assert root.get(f"/admin/databases/tenant/{name}/").status_code == 404, name
    assert reached() == []


# The switcher


def test_the_switcher_searches_all_tenants(root, register):
    register(f"zz-{n:03}" for n in range(250))

    def found(path, query):
        offered = root.get(f"{path}switch/tenants.json?q={query}").json()["databases"]
        return [item["slug"] for item in offered]

    assert found("/admin/", "zz-249") == ["zz-249"]
    assert found("/t/acme/admin/", "49") == ["zz-049", "zz-149", "zz-249"]
    assert found("/admin/", "shared") == [""]
    assert len(found("/admin/", "zz")) == 20
    assert root.get("/admin/switch/?tenant=zz").headers["Location"] == "/admin/databases/?q=zz"
