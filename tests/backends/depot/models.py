"""Models for fixtures: keys of several kinds, natural keys, parents, links, values of every type."""

import uuid

from django.db import models


class ByName(models.Manager):
    def get_by_natural_key(self, *key):
        return self.get(**dict(zip(self.model.NATURAL, key, strict=True)))


class ByAnyCase(models.Manager):
    def get_by_natural_key(self, name):
        return self.get(name__iexact=name)


class Author(models.Model):
    NATURAL = ("name",)
    name = models.CharField(max_length=50, unique=True)
    boss = models.ForeignKey("self", models.CASCADE, null=True)

    objects = ByName()

    def natural_key(self):
        return (self.name,)


class Tag(models.Model):
    NATURAL = ("name",)
    name = models.CharField(max_length=50, unique=True)

    objects = ByName()

    def natural_key(self):
        return (self.name,)


class Nick(models.Model):
    name = models.CharField(max_length=50)
    after = models.ForeignKey("self", models.CASCADE, null=True)

    objects = ByAnyCase()

    def natural_key(self):
        return (self.name,)


class Article(models.Model):
    author = models.ForeignKey(Author, models.CASCADE, null=True)
    title = models.CharField(max_length=100)
    body = models.TextField(default="")
    moment = models.DateTimeField(null=True)
    number = models.BigIntegerField(null=True, unique=True)
    price = models.DecimalField(max_digits=10, decimal_places=2, null=True)
    ratio = models.FloatField(null=True)
    extra = models.JSONField(null=True)
    data = models.BinaryField(null=True)
    span = models.DurationField(null=True)
    lent = models.BooleanField(null=True)
    tags = models.ManyToManyField(Tag)


class Country(models.Model):
    NATURAL = ("code",)
    code = models.CharField(max_length=5, primary_key=True)
    name = models.CharField(max_length=50, default="")

    objects = ByName()

    def natural_key(self):
        return (self.code,)


class City(models.Model):
    NATURAL = ("name", "country__code")
    name = models.CharField(max_length=50)
    country = models.ForeignKey(Country, models.CASCADE)

    objects = ByName()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["name", "country"], name="one_city")]

    def natural_key(self):
        return (self.name, *self.country.natural_key())

    natural_key.dependencies = ["depot.country"]


class Place(models.Model):
    NATURAL = ("name",)
    name = models.CharField(max_length=50, unique=True)
    city = models.ForeignKey(City, models.CASCADE, null=True)

    objects = ByName()

    def natural_key(self):
        return (self.name,)


class Bar(Place):
    stars = models.IntegerField(default=0)
    guests = models.ManyToManyField(Author)


class Visit(models.Model):
    bar = models.ForeignKey(Bar, models.CASCADE, null=True)
    day = models.DateField(null=True)


class Friend(models.Model):
    name = models.CharField(max_length=50)
    friends = models.ManyToManyField("self")


class Person(models.Model):
    name = models.CharField(max_length=50)


class Club(models.Model):
    name = models.CharField(max_length=50)
    members = models.ManyToManyField(Person, through="Joined")


class Joined(models.Model):
    person = models.ForeignKey(Person, models.CASCADE)
    club = models.ForeignKey(Club, models.CASCADE)


class Ticket(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    visit = models.OneToOneField(Visit, models.CASCADE, null=True)


class Cover(models.Model):
    article = models.OneToOneField(Article, models.CASCADE, primary_key=True)
    text = models.TextField(default="")


class Counted(models.Model):
    first = models.IntegerField(db_default=7)
    second = models.IntegerField(default=1)
    total = models.GeneratedField(
        expression=models.F("first") + models.F("second"), output_field=models.IntegerField(), db_persist=True
    )


class Seat(models.Model):
    pk = models.CompositePrimaryKey("row", "place")
    row = models.IntegerField()
    place = models.TextField()
    taken = models.BooleanField(default=False)


class Coded(models.Model):
    code = models.CharField(max_length=10, unique=True)


class Coding(models.Model):
    coded = models.ForeignKey(Coded, models.CASCADE, to_field="code")


class Boss(Author):
    class Meta:
        proxy = True


class Line(models.Model):
    article = models.ForeignKey(Article, models.CASCADE)

    class Meta:
        order_with_respect_to = "article"


ALL = [
    Author,
    Tag,
    Nick,
    Article,
    Country,
    City,
    Place,
    Bar,
    Visit,
    Friend,
    Person,
    Club,
    Joined,
    Ticket,
    Cover,
    Counted,
    Seat,
    Coded,
    Coding,
    Line,
]
