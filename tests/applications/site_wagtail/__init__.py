"""Wagtail: a site with pages, images, documents, snippets, forms, search and its admin."""
