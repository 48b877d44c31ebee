"""Pages that other apps add to every `DatabaseAdminSite`."""

_installed = []


class SiteExtension:
    """What an app adds to the admin sites; a subclass overrides what it needs."""

    def urls(self, site):
        """Return URL patterns below the site's root; the first match wins."""
        return []

    def context(self, site, request):
        """Return more context for each page of the site."""
        return {}

    def switched_url(self, request, match, slug):
        """Return the URL of the matched page for another database, or None.

        `match` is the ResolverMatch of a page. `slug` names the other database and is empty for D1. Return
        None if the page is not one of this extension's.
        """
        return

    def search_url(self, site, request, query):
        """Return the URL of a list of the tenants that match `query`, or None.

        The page of the list is below the root of the shared site.
        """
        return


def extend(extension):
    """Add a `SiteExtension`; an app calls this in `AppConfig.ready()`."""
    _installed.append(extension)


def extensions():
    """Return the extensions in the order in which they were added."""
    return tuple(_installed)
