"""django CMS: pages in two languages with plugins, versions, aliases and its admin."""
