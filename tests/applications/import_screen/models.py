"""What is imported."""

from django.db import models


class Post(models.Model):
    """A post as the demo has it."""

    title = models.CharField(max_length=200)
    content = models.TextField()
    created = models.DateField()
