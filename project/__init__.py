"""The site: settings, URLs and the entry points of its servers."""
