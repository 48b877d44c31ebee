"""A ring of nodes, known by their names."""

from django.db import models


class NodeManager(models.Manager):
    def get_by_natural_key(self, name):
        return self.get(name=name)


class Node(models.Model):
    name = models.CharField(max_length=20, unique=True)
    next = models.ForeignKey("self", models.CASCADE, null=True, related_name="previous")
    seen = models.ManyToManyField("self", symmetrical=False)
    weight = models.FloatField(default=0)
    moment = models.DateTimeField(null=True)
    data = models.BinaryField(default=b"")

    objects = NodeManager()

    def natural_key(self):
        return (self.name,)
