"""The ASGI application."""

import os

from django.core.asgi import get_asgi_application

from do_bridge import warm_up

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

application = get_asgi_application()
warm_up()
