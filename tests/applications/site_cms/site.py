"""A tree of pages written with the CMS's own functions: published, copied, moved, translated, deleted."""

from __future__ import annotations

import io
from typing import Any

from crawl import Bounds

# Models that a migration of djangocms-text makes in the process that runs it.
EXCLUDE = ["djangocms_text.CKEditorText", "djangocms_text.Text_Text"]
AT_LEAST = 250
# On sqlite3 django-filer lets a browser send one file at a time, by the name of the engine.
MASKS = [(r"(data-max-uploader-connections=)\"\d\"", r"\1*")]
BOUNDS = {
    "visitor": Bounds(
        ["/en/", "/de/", "/en/page-2/", "/en/page-3/"], skip="/admin/", per_route=60, pages=120
    ),
    "superuser": Bounds(
        ["/en/admin/", "/en/", "/en/admin/cms/pagecontent/?language=de", "/en/admin/cms/pagecontent/?q=page"],
        skip=r"logout|password|/preview-mode|toolbar_off|structure_off|edit_off",
        routes={"en/<path:slug>/": 20},
        per_route=6,
        pages=330,
        submit=r"/admin/(site_cms|auth|sites)/.+/change/$",
    ),
}


def fill(root: Any) -> dict[str, Any]:
    """Make the site; return what the CMS says about it."""
    from django.db import transaction
    from site_cms.models import Topic

    topics = [Topic.objects.create(name=name) for name in ("one", "zwei", "três")]
    picture = upload(root)
    pages = tree(root)
    write(pages, topics, picture)
    answers = {"published": publish(root, pages), "alias": alias(root, pages)}
    with transaction.atomic():  # the CMS insists on it
        answers["moved"] = rearrange(root, pages)
    answers["versions"] = versions(root, pages)
    answers["plugins"] = plugins()
    answers["places"] = places()
    answers["commands"] = commands()
    return answers


def upload(root: Any) -> Any:
    """A picture in a folder."""
    from django.core.files.base import ContentFile
    from filer.models import Folder, Image
    from PIL import Image as Drawing

    file = io.BytesIO()
    Drawing.new("RGB", (120, 90), "blue").save(file, "PNG")
    folder = Folder.objects.create(name="pictures", owner=root)
    Folder.objects.create(name="inner", parent=folder, owner=root)
    content = ContentFile(file.getvalue(), "blue.png")
    return Image.objects.create(owner=root, folder=folder, original_filename="blue.png", file=content)


def tree(root: Any) -> list[Any]:
    """Pages three levels deep, some of them in two languages."""
    from cms.api import create_page, create_page_content
    from django.db import transaction

    home = create_page("Home", "site_cms/page.html", "en", created_by=root, in_navigation=True)
    with transaction.atomic():
        home.set_as_homepage()
    pages = [home]
    for number in range(1, 13):
        parent = None if number < 5 else fresh(pages[number - 4])
        template = "site_cms/wide.html" if number % 3 == 0 else "site_cms/page.html"
        options = {"slug": f"page-{number}", "in_navigation": number % 4 != 3, "reverse_id": f"page{number}"}
        page = create_page(f"Page {number}", template, "en", created_by=root, parent=parent, **options)
        if number % 2 == 0:
            create_page_content("de", f"Seite {number}", page, slug=f"seite-{number}", created_by=root)
        pages.append(page)
    return pages


def fresh(page: Any) -> Any:
    """The page as the database has it now: a node's own path may be old."""
    return type(page).objects.get(pk=page.pk)


def contents(page: Any) -> list[Any]:
    """All contents of a page, drafts too."""
    return list(page.pagecontent_set(manager="admin_manager").order_by("pk"))


def write(pages: list[Any], topics: list[Any], picture: Any) -> None:
    """Fill the placeholders with plugins inside plugins."""
    from cms.api import add_plugin

    for number, page in enumerate(pages):
        for content in contents(page):
            placeholder = content.get_placeholders().get(slot="content")
            text = f"<p>Text {number} <em>ünï 100%</em></p>"
            values = {
                "title": f"Card {number}",
                "price": f"{number}.50",
                "picture": picture,
                "leads_to": pages[0],
            }
            card = add_plugin(placeholder, "CardPlugin", content.language, **values)
            card.topics.set(topics[: number % 3])
            for _ in range(2):
                add_plugin(placeholder, "TextPlugin", content.language, target=card, body=text)
            add_plugin(placeholder, "TextPlugin", content.language, position="first-child", body=text)


def version_of(content: Any) -> Any:
    """A content's newest version."""
    return content.versions.order_by("-pk").first()


def publish(root: Any, pages: list[Any]) -> list[Any]:
    """Publish most of the contents."""
    from cms.models import PageContent

    for number, page in enumerate(pages):
        for content in contents(page):
            if number != 7:
                version_of(content).publish(root)
    return list(PageContent.objects.order_by("pk").values_list("title", "language"))


def alias(root: Any, pages: list[Any]) -> list[Any]:
    """An alias with content, shown on a page."""
    from cms.api import add_plugin
    from djangocms_alias.models import Alias, AliasContent, Category

    category = Category.objects.create(name="Shared")
    made = Alias.objects.create(category=category, static_code="shared")
    content = AliasContent.objects.with_user(root).create(alias=made, name="Shared text", language="en")
    add_plugin(content.placeholder, "TextPlugin", "en", body="<p>shared</p>")
    version_of(content).publish(root)
    page = version_of(contents(pages[2])[0]).copy(root).content
    add_plugin(page.get_placeholders().get(slot="content"), "Alias", "en", alias=made)
    version_of(page).publish(root)
    return [str(made), made.get_name("en"), [str(one) for one in made.objects_using]]


def rearrange(root: Any, pages: list[Any]) -> list[Any]:
    """Move, copy and delete pages and plugins; copy plugins into another language."""
    from cms.api import copy_plugins_to_language
    from cms.models import CMSPlugin, Page

    fresh(pages[9]).move_page(fresh(pages[2]), position="first-child")
    fresh(pages[3]).move_page(fresh(pages[1]), position="left")
    copied = fresh(pages[1]).copy_with_descendants(fresh(pages[4]), position="last-child", user=root)
    fresh(pages[12]).delete()
    first = contents(pages[5])[0].get_placeholders().get(slot="content")
    plugin = first.get_plugins("en").filter(parent=None).last()
    first.move_plugin(plugin, 1)
    first.delete_plugin(first.get_plugins("en").filter(parent=None).last())
    copied_plugins = copy_plugins_to_language(fresh(pages[6]), "en", "de", only_empty=False)
    return [copied.pk, copied_plugins, Page.objects.count(), CMSPlugin.objects.count()]


def versions(root: Any, pages: list[Any]) -> list[Any]:
    """Make drafts of published contents: published, discarded, archived; unpublish one."""
    from djangocms_versioning.models import Version

    for number in (1, 2, 4):
        draft = version_of(contents(pages[number])[0]).copy(root)
        if number == 1:
            draft.publish(root)
        elif number == 4:
            draft.archive(root)
    version_of(contents(pages[8])[0]).unpublish(root)
    return list(Version.objects.order_by("pk").values_list("number", "state", "object_id", "source"))


def plugins() -> list[Any]:
    """All plugins in their places."""
    from cms.models import CMSPlugin
    from django.db.models import Count

    rows = CMSPlugin.objects.order_by("placeholder", "language", "position")
    found = list(rows.values_list("placeholder", "language", "position", "plugin_type", "parent"))
    counted = CMSPlugin.objects.values("plugin_type").annotate(n=Count("pk")).order_by("plugin_type")
    return [found, [list(row.values()) for row in counted]]


def places() -> list[Any]:
    """All pages in theirs, with their addresses."""
    from cms.models import Page, PageUrl

    nodes = list(Page.objects.order_by("path").values_list("path", "depth", "numchild", "is_home"))
    return [nodes, list(PageUrl.objects.order_by("pk").values_list("slug", "path", "language", "page"))]


def commands() -> list[Any]:
    """What the CMS's own checks of a tree report."""
    from cms.models import Page
    from django.core.management import call_command

    out = io.StringIO()
    call_command("cms", "fix-tree", stdout=out)
    call_command("cms", "list", "plugins", stdout=out)
    return [out.getvalue(), Page.find_problems()]
