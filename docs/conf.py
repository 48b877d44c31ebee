"""Sphinx's settings for the documentation: `make docs` builds it, and Read the Docs does."""

import os
import re
import sys
from pathlib import Path

import django
from django.conf import settings

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from do_bridge.version import __version__  # noqa: E402

# autodoc imports modules with models.
settings.configure(
    INSTALLED_APPS=[
        "do_bridge",
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.sessions",
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()

project = "do_bridge"
author = "The do_bridge contributors"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
exclude_patterns = ["_build"]
default_role = "code"  # docstrings have single backticks
smartquotes = False  # an option keeps its two hyphens
html_theme = "furo"
html_title = f"do_bridge {__version__}"
html_baseurl = os.environ.get("READTHEDOCS_CANONICAL_URL", "")
html_copy_source = False
html_theme_options = {
    "source_repository": "https://github.com/do-bridge/do-bridge/",
    "source_branch": "main",
    "source_directory": "docs/",
}

myst_heading_anchors = 4
copybutton_exclude = ".linenos, .gp, .go"

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}

_LINK = re.compile(r"((?<!!)\[[^\]]*\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
_SOURCE = "https://github.com/do-bridge/do-bridge"


def link_to_repository(text: str, folder: Path) -> str:
    """Return Markdown whose links to files outside `docs/` lead to the repository."""

    def absolute(match: re.Match[str]) -> str:
        target = match[2]
        place = (folder / target).resolve()
        is_page = place.is_relative_to(ROOT / "docs")
        if "://" in target or is_page or not place.exists():
            return match[0]
        kind = "tree" if place.is_dir() else "blob"
        return f"{match[1]}{_SOURCE}/{kind}/main/{place.relative_to(ROOT)}{match[3]}"

    return _LINK.sub(absolute, text)


def _read_page(app, page, content):
    content[0] = link_to_repository(content[0], (Path(app.srcdir) / page).parent)


def _read_included(app, path, parent, content):
    content[0] = link_to_repository(content[0], (Path(app.srcdir) / path).resolve().parent)


def setup(app):
    app.connect("source-read", _read_page)
    app.connect("include-read", _read_included)
