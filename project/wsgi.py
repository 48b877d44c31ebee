"""The WSGI application that gunicorn serves."""

import os

from django.core.wsgi import get_wsgi_application

from do_bridge import warm_up
from project.whole_body import WholeBody

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

application = WholeBody(get_wsgi_application())
warm_up()
