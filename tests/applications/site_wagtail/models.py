"""Pages and snippets that use most of what Wagtail's models can."""

from django.contrib.contenttypes.fields import GenericRelation
from django.core.paginator import Paginator
from django.db import models
from django.db.models import Count
from modelcluster.contrib.taggit import ClusterTaggableManager
from modelcluster.fields import ParentalKey, ParentalManyToManyField
from taggit.models import TaggedItemBase
from wagtail import blocks
from wagtail.admin.panels import FieldPanel, InlinePanel, PublishingPanel
from wagtail.contrib.forms.models import AbstractEmailForm, AbstractFormField
from wagtail.contrib.routable_page.models import RoutablePageMixin, path
from wagtail.contrib.settings.models import BaseSiteSetting, register_setting
from wagtail.contrib.table_block.blocks import TableBlock
from wagtail.fields import RichTextField, StreamField
from wagtail.images.blocks import ImageChooserBlock
from wagtail.models import (
    DraftStateMixin,
    LockableMixin,
    Orderable,
    Page,
    PreviewableMixin,
    RevisionMixin,
    TranslatableMixin,
    WorkflowMixin,
)
from wagtail.search import index
from wagtail.snippets.models import register_snippet


class Body(blocks.StreamBlock):
    """What an article is made of."""

    heading = blocks.CharBlock()
    paragraph = blocks.RichTextBlock()
    image = ImageChooserBlock()
    table = TableBlock()
    links = blocks.ListBlock(blocks.PageChooserBlock())


@register_snippet
class Author(index.Indexed, PreviewableMixin, RevisionMixin, models.Model):
    """Somebody who writes: a snippet with revisions."""

    name = models.CharField(max_length=100)
    image = models.ForeignKey(
        "wagtailimages.Image", null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    panels = [FieldPanel("name"), FieldPanel("image")]
    search_fields = [index.SearchField("name"), index.AutocompleteField("name"), index.FilterField("id")]

    class Meta:
        ordering = ["name"]

    def __str__(self):
        return self.name

    def get_preview_template(self, request, mode_name):
        return "site_wagtail/author.html"


@register_snippet
class Notice(
    WorkflowMixin,
    DraftStateMixin,
    LockableMixin,
    RevisionMixin,
    TranslatableMixin,
    index.Indexed,
    models.Model,
):
    """A text that is drafted, moderated, locked and translated."""

    title = models.CharField(max_length=100)
    text = RichTextField()
    _revisions = GenericRelation(
        "wagtailcore.Revision", related_query_name="notice", for_concrete_model=False
    )
    workflow_states = GenericRelation(
        "wagtailcore.WorkflowState",
        content_type_field="base_content_type",
        object_id_field="object_id",
        related_query_name="notice",
        for_concrete_model=False,
    )
    panels = [FieldPanel("title"), FieldPanel("text"), PublishingPanel()]
    search_fields = [index.SearchField("title"), index.AutocompleteField("title")]

    class Meta(TranslatableMixin.Meta):
        pass

    def __str__(self):
        return self.title

    @property
    def revisions(self):
        return self._revisions


@register_setting
class Social(BaseSiteSetting):
    """A site's settings."""

    address = models.CharField(max_length=100, blank=True)
    page = models.ForeignKey("wagtailcore.Page", null=True, blank=True, on_delete=models.SET_NULL)


class HomePage(Page):
    """The first page."""

    intro = RichTextField(blank=True)
    content_panels = [
        *Page.content_panels,
        FieldPanel("intro"),
        InlinePanel("highlights", label="Highlights"),
    ]


class Highlight(Orderable):
    """A page that the first page shows."""

    home = ParentalKey(HomePage, on_delete=models.CASCADE, related_name="highlights")
    target = models.ForeignKey("wagtailcore.Page", on_delete=models.CASCADE, related_name="+")
    panels = [FieldPanel("target")]


class ArticleIndex(RoutablePageMixin, Page):
    """Lists articles, by tag and by author too."""

    subpage_types = ["site_wagtail.Article"]

    def articles(self):
        """The live articles below, the newest first."""
        return Article.objects.child_of(self).live().order_by("-date", "pk")

    @path("")
    def all_of_them(self, request):
        page = Paginator(self.articles(), 5).get_page(request.GET.get("page"))
        tags = Article.tags.most_common().order_by("-num_times", "name")
        authors = Author.objects.annotate(n=Count("article")).filter(n__gt=0)
        return self.render(request, context_overrides={"articles": page, "tags": tags, "authors": authors})

    @path("tags/<slug:slug>/")
    def by_tag(self, request, slug):
        return self.render(request, context_overrides={"articles": self.articles().filter(tags__slug=slug)})

    @path("authors/<int:key>/")
    def by_author(self, request, key):
        return self.render(request, context_overrides={"articles": self.articles().filter(authors=key)})


class ArticleTag(TaggedItemBase):
    """A tag of an article."""

    content_object = ParentalKey(
        "site_wagtail.Article", on_delete=models.CASCADE, related_name="tagged_items"
    )


class Article(Page):
    """A page with everything."""

    date = models.DateField()
    rating = models.DecimalField(max_digits=6, decimal_places=3, null=True, blank=True)
    image = models.ForeignKey(
        "wagtailimages.Image", null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    body = StreamField(Body(), blank=True)
    authors = ParentalManyToManyField(Author, blank=True)
    tags = ClusterTaggableManager(through=ArticleTag, blank=True)
    content_panels = [
        *Page.content_panels,
        FieldPanel("date"),
        FieldPanel("rating"),
        FieldPanel("image"),
        FieldPanel("body"),
        FieldPanel("authors"),
        FieldPanel("tags"),
        InlinePanel("related", label="Related"),
    ]
    search_fields = [
        *Page.search_fields,
        index.SearchField("body"),
        index.FilterField("date"),
        index.RelatedFields("authors", [index.SearchField("name")]),
    ]


class Related(Orderable):
    """A link below an article."""

    article = ParentalKey(Article, on_delete=models.CASCADE, related_name="related")
    title = models.CharField(max_length=100)
    page = models.ForeignKey(
        "wagtailcore.Page", null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )


class ContactField(AbstractFormField):
    """A field of the form."""

    page = ParentalKey("site_wagtail.Contact", on_delete=models.CASCADE, related_name="form_fields")


class Contact(AbstractEmailForm):
    """A page with a form whose answers are kept."""

    thanks = RichTextField(blank=True)
    content_panels = [*AbstractEmailForm.content_panels, FieldPanel("thanks"), InlinePanel("form_fields")]
