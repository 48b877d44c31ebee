"""django-celery-results: tasks whose results are rows, and the admin over them."""
