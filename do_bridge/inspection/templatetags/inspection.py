"""Filters for the pages about databases."""

import re

from django import template

register = template.Library()

_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.\d{1,6})?(?:\+00:00|Z)?")


@register.filter
def short_moment(text):
    """Return a time without its microseconds, and any other text as it is."""
    match = _MOMENT.fullmatch(text)
    return f"{match[1]} {match[2]}" if match else text


@register.filter
def first_line(text):
    """Return a text as one line."""
    return " ".join(text.split())
