"""A celery application that runs its tasks at once and writes their results into the database."""

from celery import Celery

app = Celery("site_celery_results")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.set_default()


@app.task(bind=True)
def add(self, a, b):
    """Return a sum."""
    return a + b


@app.task(bind=True)
def fail(self, text):
    """Fail."""
    raise ValueError(text)


@app.task(bind=True)
def give(self, value):
    """Return what was given."""
    return value
