"""loaddata in bulk beside other code: open blocks, and receivers of Django's signals."""

import io

import pytest
from django.core.management import call_command
from django.db import IntegrityError, transaction
from django.db.models.signals import m2m_changed, post_save, pre_save
from fixture_files import load, make_tables, names, record, tags, write

from do_bridge.management.commands import loaddata


def test_a_load_in_an_open_block_belongs_to_it(durable_object, settings, tmp_path):
    settings.DATABASE_ROUTERS = []
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "depot"]
    make_tables(durable_object)
    from depot.models import Author, Tag

    with transaction.atomic("durable_object"):
        Author.objects.using("durable_object").create(name="ann")
        assert load(
            "durable_object",
            write(tmp_path / "bad.json", [*tags(50, 45), *tags(1), record("tag", 99, name="t1")]),
        )[1]
        assert names(durable_object, Tag) == []
        rows = [record("article", 1, title="t", author=["ann"], tags=[3]), *tags(50, 45)]
        assert load("durable_object", write(tmp_path / "good.json", rows))[1] == ""
        assert len(names(durable_object, Tag)) == 50
        # Keys are checked at once again.
        with pytest.raises(IntegrityError, match="FOREIGN KEY"), transaction.atomic("durable_object"):
            Author.objects.using("durable_object").create(name="x", boss_id=77)
        transaction.set_rollback(True, "durable_object")
    assert names(durable_object, Tag) == []
    assert names(durable_object, Author) == []


# Signals


def test_signals_are_those_of_django(engine, depot, loads):
    heard = []

    def hear(signal, instance, **kwargs):
        kind = "pre" if signal is pre_save else "post"
        heard.append((kind, instance.name, kwargs["raw"], kwargs.get("created"), kwargs["using"]))

    def hear_links(instance, action, pk_set, reverse, model, using, **kwargs):
        heard.append((action, sorted(pk_set), reverse, model.__name__, using))

    loads([record("author", 1, name="a"), *tags(3), record("article", 1, title="t", tags=[1, 2])])
    for each in (pre_save, post_save):
        each.connect(hear, sender=depot.Author)
    m2m_changed.connect(hear_links, sender=depot.Article.tags.through)
    try:
        loads(
            [
                record("author", 1, name="A", boss=["b"]),
                record("author", 2, name="b"),
                record("article", 1, title="t", tags=[2, 3]),
            ]
        )
    finally:
        for each in (pre_save, post_save):
            each.disconnect(hear, sender=depot.Author)
        m2m_changed.disconnect(hear_links, sender=depot.Article.tags.through)
    alias = engine.alias
    saved = [each for each in heard if each[0] in ("pre", "post")]
    assert [each for each in saved if each[0] == "pre"] == [
        ("pre", "A", True, None, alias),
        ("pre", "b", True, None, alias),
        ("pre", "A", True, None, alias),
    ]
    assert [each for each in saved if each[0] == "post"] == [
        ("post", "A", True, False, alias),
        ("post", "b", True, True, alias),
        ("post", "A", True, False, alias),
    ]
    assert [each for each in heard if each not in saved] == [
        ("pre_remove", [1], False, "Tag", alias),
        ("post_remove", [1], False, "Tag", alias),
        ("pre_add", [3], False, "Tag", alias),
        ("post_add", [3], False, "Tag", alias),
    ]


def test_a_receiver_finds_the_rows_and_writes_its_own(engine, depot, loads):
    def follow(instance, created, using, **kwargs):
        if created:
            depot.Article.objects.using(using).create(title=instance.name, author=instance)

    post_save.connect(follow, sender=depot.Author)
    try:
        loads([record("author", key, name=f"n{key}") for key in range(1, 4)])
    finally:
        post_save.disconnect(follow, sender=depot.Author)
    titles = depot.Article.objects.using(engine.alias).order_by("pk").values_list("title", flat=True)
    assert list(titles) == ["n1", "n2", "n3"]


def test_a_long_block_for_receivers_is_announced_in_one_line(engine, depot, tmp_path, monkeypatch):
    monkeypatch.setattr(loaddata, "MANY", 3)
    heard, err, path = [], io.StringIO(), write(tmp_path / "f.json", tags(3))

    def hear(instance, **kwargs):
        heard.append((instance.pk, bool(err.getvalue())))

    post_save.connect(hear, sender=depot.Tag)
    try:
        call_command("loaddata", str(path), database=engine.alias, verbosity=0, stderr=err)
    finally:
        post_save.disconnect(hear, sender=depot.Tag)
    told = "Receivers of post_save run for these 3 objects inside one transaction of 'durable_object'."
    holds = engine.alias == "durable_object"
    assert heard == [(key, holds) for key in (1, 2, 3)]
    assert (err.getvalue().startswith(told), err.getvalue().count("\n")) == (holds, int(holds))
