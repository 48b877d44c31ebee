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
        """Return the URL of the page of a ResolverMatch for another database, or None for other pages."""
        return

    def search_url(self, site, request, query):
        """Return the URL, below the shared site, of a list of the tenants that match `query`, or None."""
        return


def extend(extension):
    """Add a `SiteExtension`; an app calls this in `AppConfig.ready()`."""
    _installed.append(extension)


def extensions():
    """Return the extensions in the order in which they were added."""
    return tuple(_installed)
