"""The plugins of the pages."""

from cms.plugin_base import CMSPluginBase
from cms.plugin_pool import plugin_pool
from site_cms.models import Card


@plugin_pool.register_plugin
class CardPlugin(CMSPluginBase):
    """Shows a card, with the plugins inside it."""

    model = Card
    name = "Card"
    render_template = "site_cms/card.html"
    allow_children = True
