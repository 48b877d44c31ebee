"""A tree of pages that is written, moderated, copied, moved, deleted, translated, searched and shown."""

from __future__ import annotations

import datetime
import io
from collections.abc import Callable
from typing import Any

from crawl import Bounds

AT_LEAST = 400
# Wagtail hands what was typed to SQLite's own search language, where a quotation mark must be closed.
BROKEN = r"visitor /search/\?query=%22"
MASKS = [
    # The keys in rich text are drawn for each answer; sets of models have another order in each process.
    (r"(key\\*&quot;: \\*&quot;)\w{5}\b", r"\1*"),
    (r"""("modelNames": )\[.*?\]""", r"\1*"),
    (r"\b(?:page|model) log entries", "log entries"),
]
BOUNDS = {
    "visitor": Bounds(
        [
            "/",
            "/search/?query=river",
            "/search/?query=stone+river",
            "/search/?query=r%C3%ADo",
            "/search/?query=%22",
            "/old/",
            "/sitemap.xml",
            "/api/v2/pages/?limit=20",
            "/api/v2/pages/?type=site_wagtail.Article&fields=*&order=-title",
            "/api/v2/pages/?search=river&search_operator=and",
            "/api/v2/pages/?type=site_wagtail.Article&order=-first_published_at",
            "/articles/",
            "/api/v2/pages/?descendant_of=3&locale=en",
            "/api/v2/images/?fields=*",
            "/api/v2/documents/",
            "/api/v2/redirects/",
        ],
        routes={"": 80, r"^((?:[\w\-]+/)*)$": 80},
        pages=180,
    ),
    "superuser": Bounds(
        [
            "/admin/",
            "/admin/pages/3/?q=river",
            "/admin/pages/search/?q=river",
            "/admin/pages/search/?q=stone&content_type=site_wagtail.article",
            "/admin/pages/3/?ordering=-latest_revision_created_at",
            "/admin/images/?q=image",
            "/admin/images/?tag=blue",
            "/admin/documents/?q=paper",
            "/admin/reports/site-history/",
            "/admin/reports/locked/",
            "/admin/reports/workflow/",
            "/admin/reports/aging-pages/",
            "/admin/reports/page-types-usage/",
            "/admin/snippets/site_wagtail/author/?q=ann",
            "/admin/snippets/site_wagtail/notice/",
            "/admin/users/?q=root",
            "/django-admin/",
        ],
        # A spreadsheet has its time in it.
        skip=r"/logout/|/password|/lock/|/unlock/|/styleguide/|export=xlsx",
        per_route=4,
        pages=450,
        submit=r"/django-admin/.+/change/$",
    ),
}
WORDS = ["river", "stone", "río", "Straße", "cloud", "it's", "100%", "snow ☃", "path_to", "lamp"]


def fill(root: Any) -> dict[str, Any]:
    """Make the site; return what the library says about it."""
    from wagtail.models import Locale, Page, Site

    Page.objects.filter(depth=2).delete()
    home = add(Page.objects.get(depth=1), "HomePage", title="Home", slug="home", intro="<p>Welcome</p>")
    Site.objects.update_or_create(
        is_default_site=True, defaults={"hostname": "testserver", "root_page": home}
    )
    images, document = media(root)
    authors = people(images)
    listing = add(home, "ArticleIndex", title="Articles", slug="articles")
    articles = [article(listing, number, images, authors, document) for number in range(18)]
    form(home)
    extras(root, home, listing, articles)
    answers = {"tree": tree(), "moved": rearrange(root, home, listing, articles)}
    answers["moderated"] = moderate(root, articles)
    answers["notices"] = notices(root)
    answers["translated"] = translate(home, Locale.objects.create(language_code="de"))
    answers["searched"] = searched()
    answers["rebuilt"] = rebuilt()
    answers["sent"] = sent()
    answers["tree in the end"] = tree()
    return answers


def add(parent: Any, model: str, **values: Any) -> Any:
    """Add a page, with a revision, and publish it."""
    from site_wagtail import models

    page = parent.add_child(instance=getattr(models, model)(**values))
    page.save_revision().publish()
    return page


def media(root: Any) -> tuple[list[Any], Any]:
    """Images with tags and focal points, and a document."""
    from django.core.files.base import ContentFile
    from PIL import Image as Drawing
    from wagtail.documents.models import Document
    from wagtail.images.models import Image

    images = []
    for number, colour in enumerate(("blue", "red", "green")):
        file = io.BytesIO()
        Drawing.new("RGB", (120 + number, 90), colour).save(file, "PNG")
        values = {"title": f"image {colour}", "uploaded_by_user": root, "focal_point_x": 10 * number}
        image = Image.objects.create(file=ContentFile(file.getvalue(), f"{colour}.png"), **values)
        image.tags.add(colour, "all")
        images.append(image)
    document = Document(title="paper", uploaded_by_user=root)
    document.file.save("paper.txt", ContentFile(b"words"))
    return images, document


def people(images: list[Any]) -> list[Any]:
    """Authors with revisions."""
    from site_wagtail.models import Author

    authors = [Author.objects.create(name=name) for name in ("Ann", "Bob", "Ćira", "Dee")]
    for number, author in enumerate(authors):
        author.image = images[number % 3]
        author.save()
        author.save_revision()
    return authors


def article(listing: Any, number: int, images: list[Any], authors: list[Any], document: Any) -> Any:
    """Add an article with tags, authors, related pages and a body of every block."""
    from site_wagtail.models import Article, Related

    words = [WORDS[(number * 3 + step) % len(WORDS)] for step in range(4)]
    body = [
        ("heading", f"About {words[0]}"),
        ("paragraph", f'<p>{" ".join(words)} <a linktype="document" id="{document.pk}">paper</a></p>'),
        ("table", {"data": [["a", "b"], [str(number), words[1]]], "first_row_is_table_header": True}),
        ("links", [listing]),
    ]
    values = {"title": f"{words[0]} and {words[1]}", "slug": f"article-{number}", "rating": f"{number}.125"}
    page = Article(date=datetime.date(2025, 1 + number % 12, 1 + number), image=images[number % 3], **values)
    page.body = body
    page.related = [Related(title=f"related {step}", page=listing) for step in range(number % 3)]
    listing.add_child(instance=page)
    page.tags.add(f"tag {number % 4}", "every")
    page.authors.set(authors[: 1 + number % 4])
    page.save_revision(log_action=True).publish()
    return page


def form(home: Any) -> None:
    """A form, and two answers to it by HTTP."""
    from django.test import Client
    from site_wagtail.models import Contact, ContactField

    page = Contact(title="Contact", slug="contact", thanks="<p>Thanks</p>")
    page.form_fields = [
        ContactField(label="Name", field_type="singleline", required=True, sort_order=1),
        ContactField(label="Words", field_type="checkboxes", choices="a,b,c", required=False, sort_order=2),
    ]
    home.add_child(instance=page)
    page.save_revision().publish()
    for name in ("Élodie", "50% 'off'"):
        Client().post("/contact/", {"name": name, "words": ["a", "c"]})


def extras(root: Any, home: Any, listing: Any, articles: list[Any]) -> None:
    """Highlights, settings, redirects, promoted results, a collection, a group, a comment, a private page."""
    from django.contrib.auth.models import Group, Permission
    from site_wagtail.models import Highlight, Social
    from wagtail.contrib.redirects.models import Redirect
    from wagtail.contrib.search_promotions.models import Query, SearchPromotion
    from wagtail.models import Collection, Comment, GroupPagePermission, PageViewRestriction, Site

    home.highlights = [Highlight(target=page) for page in articles[:3]]
    home.save_revision().publish()
    Social.objects.update_or_create(site=Site.objects.get(), defaults={"address": "@site", "page": listing})
    Redirect.objects.create(old_path="/old", redirect_page=listing)
    SearchPromotion.objects.create(query=Query.get("river"), page=articles[0], sort_order=1, description="x")
    Collection.get_first_root_node().add_child(name="Inner")
    group = Group.objects.create(name="Writers")
    permission = Permission.objects.get(codename="change_page", content_type__app_label="wagtailcore")
    GroupPagePermission.objects.create(group=group, page=listing, permission=permission)
    Comment.objects.create(page=articles[1], user=root, text="why?", contentpath="title")
    PageViewRestriction.objects.create(page=articles[17], restriction_type="login")


def rearrange(root: Any, home: Any, listing: Any, articles: list[Any]) -> list[Any]:
    """Copy, move, delete, unpublish, revert: what Wagtail does to a tree of nodes."""
    from django.test import Client
    from wagtail.models import Page, Revision

    copied = fresh(listing).copy(recursive=True, update_attrs={"title": "Copy", "slug": "copy"}, user=root)
    found = [copied.get_children().count()]
    copied.get_children().first().delete()
    fresh(articles[3]).move(fresh(home), pos="first-child", user=root)
    fresh(articles[4]).move(fresh(articles[9]), pos="right", user=root)
    fresh(articles[5]).unpublish(user=root)
    page = fresh(articles[6])
    page.title = "Reverted"
    page.save_revision(user=root).publish()
    first = Revision.objects.for_instance(page).order_by("pk").first()
    first.as_object().save_revision(user=root, previous_revision=first, log_action="wagtail.revert").publish()
    client = Client()
    client.force_login(root)
    for action, key in (("delete", articles[7].pk), ("unpublish", articles[8].pk), ("lock", articles[10].pk)):
        found.append(client.post(f"/admin/pages/{key}/{action}/", {"next": "/admin/"}).status_code)
    found.append(Page.find_problems())
    return found


def fresh(page: Any) -> Any:
    """The page as the database has it now: a node's own path may be old."""
    return type(page).objects.get(pk=page.pk)


def moderate(root: Any, articles: list[Any]) -> list[Any]:
    """Send a page through a workflow of two tasks: rejected, sent again, approved."""
    from wagtail.models import GroupApprovalTask, Workflow, WorkflowTask

    workflow = Workflow.objects.create(name="Two steps")
    for order, name in enumerate(("first", "second")):
        task = GroupApprovalTask.objects.create(name=name)
        WorkflowTask.objects.create(workflow=workflow, task=task, sort_order=order)
    page = fresh(articles[11])
    page.title = "Moderated"
    page.save_revision(user=root)
    state = workflow.start(page, root)
    seen = [state.status]
    state.current_task_state.reject(user=root, comment="no")
    state.refresh_from_db()
    seen.append(state.status)
    state.resume(user=root)
    for _ in range(2):
        state.refresh_from_db()
        state.current_task_state.specific.approve(user=root)
    state.refresh_from_db()
    workflow.start(fresh(articles[12]), root)
    return [*seen, state.status, fresh(page).title]


def notices(root: Any) -> list[Any]:
    """Snippets with drafts, locks and moments to go live."""
    from django.core.management import call_command
    from django.utils import timezone
    from site_wagtail.models import Notice

    made = [
        Notice.objects.create(title=f"notice {word}", text=f"<p>{word}</p>", live=False) for word in WORDS
    ]
    made[0].save_revision(user=root).publish()
    made[1].go_live_at = timezone.now() - datetime.timedelta(days=1)
    made[1].save_revision(user=root, approved_go_live_at=made[1].go_live_at)
    made[2].locked, made[2].locked_by, made[2].locked_at = True, root, timezone.now()
    made[2].save()
    call_command("publish_scheduled_pages", verbosity=0)
    return list(Notice.objects.order_by("pk").values_list("title", "live", "locked"))


def translate(home: Any, locale: Any) -> list[Any]:
    """Copy pages for another language."""
    from wagtail.models import Page

    other = fresh(home).copy_for_translation(locale)
    other.save_revision().publish()
    for child in fresh(home).get_children().specific().order_by("path")[:2]:
        child.copy_for_translation(locale).save_revision().publish()
    return [
        [page.title, page.url_path, page.depth]
        for page in Page.objects.filter(locale=locale).order_by("path")
    ]


def tree() -> list[Any]:
    """Every page with its place."""
    from wagtail.models import Page

    columns = ("path", "depth", "numchild", "url_path", "title", "live", "has_unpublished_changes")
    return [list(row) for row in Page.objects.order_by("path").values_list(*columns)]


def searched() -> dict[str, list[Any]]:
    """What the search index in the database finds, with order and facets."""
    from site_wagtail.models import Article, Author
    from wagtail.images.models import Image
    from wagtail.models import Page
    from wagtail.search.query import Boost, Fuzzy, Phrase, PlainText

    found: dict[str, list[Any]] = {}
    pages, live = Page.objects.all(), Article.objects.live()
    for text in [*WORDS, "river stone", "About", "", "'", '"', "*", "NEAR(", "notice"]:
        found[f"all: {text}"] = keys(lambda text=text: pages.search(text))
        found[f"or: {text}"] = keys(lambda text=text: pages.search(text, operator="or"))
        found[f"begins: {text}"] = keys(lambda text=text: pages.autocomplete(text))
    found["by date"] = keys(lambda: live.order_by("-date").search("river", order_by_relevance=False))
    found["facets"] = sorted(
        map(list, live.search("every OR about", operator="or").facet("date").items()), key=str
    )
    for query in (
        Phrase("river stone"),
        PlainText("river") | Boost(PlainText("cloud"), 2),
        PlainText("river") & ~PlainText("stone"),
        Fuzzy("rivr"),
    ):
        found[repr(query)] = keys(lambda query=query: live.search(query))
    found["authors"] = keys(lambda: Author.objects.search("ann"))
    found["images"] = keys(lambda: Image.objects.search("image"))
    return found


def keys(search: Callable[[], Any]) -> list[Any]:
    """The keys that a search finds, in its order, or the error that it ends with."""
    try:
        return [found.pk for found in search()]
    except Exception as error:  # noqa: BLE001 - sqlite3's own error is the answer, too
        return [f"{type(error).__name__}: {error}"]


def rebuilt() -> list[Any]:
    """Whether a rebuilt index finds what it found, and what the commands that mend a tree report."""
    from django.core.management import call_command
    from wagtail.models import Page

    out = io.StringIO()
    call_command("rebuild_references_index", verbosity=0)
    call_command("update_index", verbosity=0, stdout=io.StringIO())
    call_command("fixtree", interactive=False, stdout=out)
    call_command("set_url_paths", verbosity=0)
    return [sorted(page.pk for page in Page.objects.search("river")), out.getvalue()]


def sent() -> list[Any]:
    """The answers to the form."""
    from wagtail.contrib.forms.models import FormSubmission

    return list(FormSubmission.objects.order_by("pk").values_list("form_data", flat=True))
