"""What the last migration of this app leaves."""

from django.db import models


class Boat(models.Model):
    name = models.CharField(max_length=20)
    metres = models.IntegerField(default=7)
    callsign = models.CharField(max_length=20)

    class Meta:
        indexes = [models.Index(fields=["name"], name="yard_boat_name")]

    def __str__(self):
        return self.name


class Crew(models.Model):
    boat = models.ForeignKey(Boat, models.CASCADE)

    def __str__(self):
        return f"crew of {self.boat_id}"


class Harbour(models.Model):
    name = models.CharField(max_length=20)

    def __str__(self):
        return self.name
