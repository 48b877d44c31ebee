"""Imported once by the process that clients are forked from: Django, ready, without a connection."""

import django

django.setup()

from do_bridge.tenancy.lifecycle.provision import fingerprint_once  # noqa: E402
from do_bridge.tenancy.schema.fingerprint import code_fingerprint  # noqa: E402

from . import client  # noqa: E402, F401
from .setup import set_up  # noqa: E402, F401

code_fingerprint()
fingerprint_once()
