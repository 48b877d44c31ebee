"""Which tables a statement names."""

import pytest

from do_bridge.driver.tables import tables_in


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM post",
        "select count(*) from Post p where p.id = %s",
        'SELECT * FROM "post"',
        "SELECT * FROM `POST`",
        "SELECT * FROM [post]",
        "SELECT * FROM 'post'",
        'SELECT * FROM main."post"',
        "SELECT * FROM main . post",
        "SELECT * FROM other, post",
        "SELECT * FROM other AS o JOIN x ON (o.id = x.id), post WHERE a IN (1, 2)",
        "SELECT * FROM other LEFT OUTER JOIN post ON other.id = post.other_id",
        "SELECT * FROM (other JOIN post USING (id))",
        "SELECT * FROM (other, post)",
        "SELECT * FROM (SELECT id FROM post)",
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM post)",
        "SELECT 1 WHERE 1 IN post",
        "SELECT (SELECT title FROM post LIMIT 1), 2 FROM other",
        "WITH x AS (SELECT * FROM post) SELECT * FROM x",
        "SELECT 1 UNION ALL SELECT id FROM post",
        "SELECT 1 -- FROM nothing\nFROM /* here */ post",
        "INSERT INTO post (title) VALUES (%s)",
        "INSERT OR REPLACE INTO post VALUES (1)",
        "REPLACE INTO post VALUES (1)",
        "INSERT INTO other SELECT * FROM post",
        "UPDATE post SET title = %s",
        "UPDATE OR IGNORE post SET title = 1",
        "UPDATE other SET a = 1 FROM post WHERE post.id = other.id",
        "DELETE FROM post",
        "DROP TABLE IF EXISTS post",
        "ALTER TABLE post RENAME TO other",
        "CREATE INDEX i ON post (title)",
        "CREATE TRIGGER t AFTER UPDATE ON post BEGIN SELECT 1; END",
        "SELECT 1; DELETE FROM post",
        "EXPLAIN QUERY PLAN SELECT * FROM post",
    ],
)
def test_a_table_is_found(sql):
    assert "post" in tables_in(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 'post' FROM other",
        "SELECT * FROM other WHERE model = 'post'",
        "SELECT * FROM other WHERE model IN ('post', 'FROM post')",
        "SELECT post FROM other",
        "SELECT * FROM other WHERE other.post = 1",
        "SELECT o.post, 1 AS post FROM other o ORDER BY post, other",
        "SELECT a, post FROM other GROUP BY a, post",
        "INSERT INTO other (post, a) VALUES (1, 'post') RETURNING a, post",
        "INSERT INTO other (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET post = 1, a = excluded.post",
        "UPDATE other SET a = 1, post = 2",
        "INSERT INTO other SELECT 1 FROM x WHERE 1 ON CONFLICT DO UPDATE SET a = 1, post = 2",
        "INSERT INTO other SELECT 1 FROM x ON CONFLICT DO UPDATE SET a = 1, post = 2",
        "SELECT * FROM post_office, other_post",
        "SELECT * FROM other -- , post",
        "SELECT * FROM other /* JOIN post */",
        "PRAGMA table_info(other)",
        "SELECT coalesce(a, post) FROM other",
        "",
        "--",
    ],
)
def test_what_is_no_table_is_not_found(sql):
    assert "post" not in tables_in(sql)


def test_an_unfinished_statement_is_no_error():
    for text in ("SELECT * FROM", 'SELECT * FROM "', "SELECT * FROM 'po", "FROM (", ")) FROM post", "[", "'"):
        tables_in(text)
