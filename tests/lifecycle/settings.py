"""The site's settings with short leases and a short memory, so that much happens in little time."""

from project.settings import *  # noqa: F403
from project.settings import DO_BRIDGE as _SITE

DO_BRIDGE = {**_SITE, "LEASE_SECONDS": 1, "TENANT_CACHE_SECONDS": 0.2}
