"""libSQL's protocol over HTTP, spoken by http.client, on an object and on D1."""

import http.client
import json
import threading
import time
from base64 import b64encode

import pytest

from do_bridge import driver
from do_bridge.studio import server as server_module
from do_bridge.studio.server import Server
from tests.conftest import DATABASE_ID

DATABASES = {"durable_object": "do:test/studio", "d1": "d1:" + DATABASE_ID.format(3)}
BIG = 2**53 + 1


@pytest.fixture(params=sorted(DATABASES))
def connect(request, relay):
    """Makes connections to a database with a table t and two rows."""

    def make(**options):
        if request.param == "d1":
            options |= {"optimistic": True}
        return driver.connect(relay, DATABASES[request.param], **options)

    with make() as connection:
        connection.execute_batch(
            [
                ("DROP VIEW IF EXISTS v", None),
                ("DROP TABLE IF EXISTS t", None),
                ("CREATE TABLE t (id INTEGER PRIMARY KEY, a, b TEXT UNIQUE)", None),
                (f"INSERT INTO t VALUES (1, {BIG}, 'one'), (2, x'00ff', 'two')", None),
            ]
        )
    yield make
    with make() as connection:
        connection.execute_batch([("DROP TABLE t", None)])


@pytest.fixture
def serve(connect):
    """Starts servers; ends them after the test."""
    running = []

    def start(*, writes=False, **options):
        server = Server(lambda: connect(**options), writes=writes)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        running.append((server, thread))
        return Client(server)

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


class Client:
    """A client that keeps the baton of its stream."""

    def __init__(self, server):
        self.server, self.baton = server, None

    def call(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_address[1], timeout=30)
        known = {"Authorization": f"Bearer {self.server.token}"} if headers is None else headers
        connection.request(method, path, body, known)
        answer = connection.getresponse()
        content = answer.read().decode()
        connection.close()
        return answer.status, content

    def pipeline(self, *requests, path="/v3/pipeline"):
        body = json.dumps({"baton": self.baton, "requests": requests})
        status, content = self.call("POST", path, body)
        assert status == 200, content
        answer = json.loads(content)
        self.baton = answer["baton"]
        return answer["results"]

    def execute(self, sql, *args, **more):
        (result,) = self.pipeline(execute(sql, *args, **more))
        if result["type"] == "error":
            return result["error"]
        return result["response"]["result"]

    def rows(self, sql, *args):
        return [[value.get("value") for value in row] for row in self.execute(sql, *args)["rows"]]


def execute(sql, *args, **more):
    return {"type": "execute", "stmt": {"sql": sql, "args": list(args), **more}}


def integer(number):
    return {"type": "integer", "value": str(number)}


def text(value):
    return {"type": "text", "value": value}


def test_both_versions_are_there_and_no_other(serve):
    client = serve()
    assert [client.call("GET", path)[0] for path in ("/v2", "/v3", "/v3-protobuf", "/")] == [
        200,
        200,
        404,
        404,
    ]
    for path in ("/v2/pipeline", "/v3/pipeline"):
        client.baton = None
        assert client.pipeline(execute("SELECT 1"), path=path)[0]["type"] == "ok"


def test_values_travel_exactly(serve):
    client = serve(writes=True)
    values = [
        integer(2**63 - 1),
        integer(-(2**63)),
        {"type": "float", "value": 0.1},
        {"type": "null"},
        text("ü🙂'"),
        {"type": "blob", "base64": b64encode(b"\0\xff").decode()},
    ]
    answer = client.execute("SELECT ?, ?2, :c, @d, $e, ? AS f", *values)
    assert answer["rows"] == [values]
    assert answer["cols"][-1] == {"name": "f", "decltype": None}
    assert client.execute("SELECT a FROM t ORDER BY id")["rows"] == [
        [integer(BIG)],
        [{"type": "blob", "base64": "AP8="}],
    ]


def test_names_and_rows_that_are_not_wanted(serve):
    client = serve()
    named = [{"name": "b", "value": text("two")}]
    assert client.execute("SELECT id FROM t WHERE b = :b", named_args=named)["rows"] == [[integer(2)]]
    answer = client.execute("SELECT id FROM t", want_rows=False)
    assert answer["rows"] == []


def test_a_write_tells_its_counts(serve):
    client = serve(writes=True)
    answer = client.execute("INSERT INTO t (a, b) VALUES (?, '100%s'), (2, 'x')", integer(1))
    assert (answer["affected_row_count"], answer["last_insert_rowid"]) == (2, "4")
    assert client.execute("UPDATE t SET a = 0")["affected_row_count"] == 4
    assert client.rows("SELECT b FROM t WHERE id = 3") == [["100%s"]]


def test_an_error_has_its_code_and_the_stream_goes_on(serve):
    client = serve(writes=True)
    results = client.pipeline(
        execute("SELEC 1"), execute("INSERT INTO t (b) VALUES ('one')"), execute("SELECT 1")
    )
    assert [result["type"] for result in results] == ["error", "error", "ok"]
    assert results[0]["error"]["code"] == "SQLITE_ERROR"
    assert results[1]["error"]["code"] == "SQLITE_CONSTRAINT_UNIQUE"


# Read-only


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t (b) VALUES ('x')",
        "DELETE FROM t",
        "DROP TABLE t",
        "CREATE TABLE u (a)",
        "PRAGMA user_version = 3",
        "PRAGMA optimize",
        "WITH x AS (SELECT 1) DELETE FROM t",
        "SELECT 1; DELETE FROM t",
        "SELECT * FROM pragma_optimize()",
        "REPLACE INTO t (id) VALUES (1)",
        "EXPLAIN SELECT 1; DELETE FROM t",
    ],
)
def test_what_writes_is_refused_without_write(serve, sql):
    client = serve()
    assert "code" in client.execute(sql)
    assert client.rows("SELECT count(*) FROM t") == [["2"]]
    (result,) = client.pipeline({"type": "sequence", "sql": sql})
    assert result["type"] == "error"
    assert client.rows("SELECT count(*), sum(id) FROM t") == [["2", "3"]]


def test_a_transaction_without_write_reads_and_refuses_writes(serve):
    client = serve()
    client.pipeline(execute("BEGIN"), execute("SELECT 1"))
    assert client.execute("DELETE FROM t")["code"] == "SQLITE_READONLY"
    assert "code" not in client.execute("COMMIT")
    assert client.rows("SELECT count(*) FROM t") == [["2"]]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT name, sql FROM sqlite_master WHERE name = 't'",
        "PRAGMA table_info('t')",
        "PRAGMA main.table_xinfo(t)",
        "PRAGMA read_uncommitted",
        "SELECT * FROM pragma_table_info('t') ORDER BY cid",
        "EXPLAIN QUERY PLAN SELECT * FROM t",
    ],
)
def test_a_studio_reads_the_schema(serve, sql):
    assert serve().execute(sql)["rows"]


# Transactions


def test_a_transaction_goes_over_several_requests(serve):
    client, other = serve(writes=True), serve()
    client.pipeline(execute("BEGIN IMMEDIATE"), execute("INSERT INTO t (id, b) VALUES (9, 'nine')"))
    assert client.rows("SELECT b FROM t WHERE id = 9") == [["nine"]]
    client.pipeline(execute("ROLLBACK"))
    assert other.rows("SELECT b FROM t WHERE id = 9") == []
    client.pipeline(execute("BEGIN"), execute("INSERT INTO t (id, b) VALUES (9, 'nine')"), execute("COMMIT"))
    assert other.rows("SELECT b FROM t WHERE id = 9") == [["nine"]]
    assert client.execute("COMMIT")["message"] == "cannot commit - no transaction is active"


def test_savepoints_of_any_name_nest(serve):
    client = serve(writes=True)
    client.pipeline(
        execute("SAVEPOINT outer"),
        execute("DELETE FROM t WHERE id = 1"),
        execute('SAVEPOINT "in; ner"'),
        execute("DELETE FROM t WHERE id = 2"),
        execute('ROLLBACK TO SAVEPOINT "in; ner"'),
        execute('RELEASE "in; ner"'),
        execute("RELEASE OUTER"),
    )
    assert client.rows("SELECT id FROM t") == [["2"]]
    (state,) = client.pipeline({"type": "get_autocommit"})
    assert state["response"]["is_autocommit"] is True
    client.pipeline(execute("BEGIN"))
    assert "no such savepoint" in client.execute("RELEASE nothing")["message"]


def test_a_closed_stream_rolls_back(serve):
    client, other = serve(writes=True), serve()
    client.pipeline(execute("BEGIN"), execute("DELETE FROM t"))
    first, second = client.pipeline({"type": "close"}, execute("SELECT 1"))
    assert (first["type"], second["type"]) == ("ok", "error")
    assert client.baton is None
    assert other.rows("SELECT count(*) FROM t") == [["2"]]


def test_an_idle_stream_is_closed(serve, monkeypatch):
    client, other = serve(writes=True), serve()
    client.pipeline(execute("BEGIN"), execute("DELETE FROM t"))
    baton = client.baton
    monkeypatch.setattr(server_module, "IDLE", 0.0)
    time.sleep(0.01)
    client.baton = None
    client.pipeline(execute("SELECT 1"), {"type": "close"})
    assert other.rows("SELECT count(*) FROM t") == [["2"]]
    body = json.dumps({"baton": baton, "requests": []})
    assert client.call("POST", "/v3/pipeline", body)[0] == 400


def test_a_baton_is_good_for_one_request(serve):
    client = serve()
    client.execute("SELECT 1")
    baton = client.baton
    client.execute("SELECT 1")
    for wrong in (baton, "x", 7, ["x"]):
        body = json.dumps({"baton": wrong, "requests": []})
        assert client.call("POST", "/v3/pipeline", body)[0] == 400
    assert client.rows("SELECT 1") == [["1"]]


def test_streams_are_bounded(serve, monkeypatch):
    monkeypatch.setattr(server_module, "MOST_STREAMS", 3)
    client = serve()
    for _ in range(5):
        client.baton = None
        client.execute("SELECT 1")
    assert len(client.server._streams) == 3


# Batches


def batch(*steps):
    return {"steps": [{"stmt": {"sql": sql}, **({"condition": cond} if cond else {})} for sql, cond in steps]}


def ok(step):
    return {"type": "ok", "step": step}


def failed(step):
    return {"type": "error", "step": step}


def test_a_batch_runs_the_steps_whose_conditions_hold(serve):
    client = serve(writes=True)
    steps = batch(
        ("BEGIN", None),
        ("INSERT INTO t (id, b) VALUES (3, 'three')", ok(0)),
        ("INSERT INTO t (id, b) VALUES (3, 'again')", ok(1)),
        ("COMMIT", ok(2)),
        ("ROLLBACK", {"type": "not", "cond": ok(3)}),
        (
            "SELECT 5",
            {"type": "and", "conds": [ok(4), {"type": "error", "step": 2}, {"type": "is_autocommit"}]},
        ),
        ("SELECT 6", {"type": "or", "conds": [ok(3), ok(2)]}),
    )
    (answer,) = client.pipeline({"type": "batch", "batch": steps})
    result = answer["response"]["result"]
    assert [one is not None for one in result["step_results"]] == [
        True,
        True,
        False,
        False,
        True,
        True,
        False,
    ]
    assert [one is not None for one in result["step_errors"]] == [
        False,
        False,
        True,
        False,
        False,
        False,
        False,
    ]
    assert client.rows("SELECT count(*) FROM t") == [["2"]]


def test_a_cursor_tells_a_batch_line_by_line(serve):
    client = serve()
    body = json.dumps(
        {"baton": None, "batch": batch(("SELECT id FROM t ORDER BY id", None), ("SELEC", None))}
    )
    status, content = client.call("POST", "/v3/cursor", body)
    first, *lines = map(json.loads, content.splitlines())
    assert status == 200
    assert first["baton"]
    kinds = [line["type"] for line in lines]
    assert kinds == ["step_begin", "row", "row", "step_end", "step_error"]
    assert lines[1]["row"] == [integer(1)]


@pytest.mark.parametrize("condition", [{"type": "ok", "step": 7}, {"type": "x"}, {}, 3, {"type": "not"}])
def test_a_condition_that_is_none_is_an_error(serve, condition):
    (answer,) = serve().pipeline({"type": "batch", "batch": batch(("SELECT 1", condition or {"type": None}))})
    assert answer["type"] == "error"


# Other requests


def test_describe_names_parameters_and_columns(serve):
    client = serve(writes=True)
    select, insert, explain, pragma = client.pipeline(
        {"type": "describe", "sql": "SELECT id, a AS x FROM t WHERE id = ? AND b = :b"},
        {"type": "describe", "sql": "INSERT INTO t (a) VALUES (?2)"},
        {"type": "describe", "sql": "EXPLAIN SELECT 1"},
        {"type": "describe", "sql": 'PRAGMA main.table_info("t")'},
    )
    assert pragma["response"]["result"]["cols"][1]["name"] == "name"
    result = select["response"]["result"]
    assert result["params"] == [{"name": None}, {"name": ":b"}]
    assert [column["name"] for column in result["cols"]] == ["id", "x"]
    assert (result["is_readonly"], result["is_explain"]) == (True, False)
    assert insert["response"]["result"]["params"] == [{"name": None}, {"name": "?2"}]
    assert insert["response"]["result"]["is_readonly"] is False
    assert explain["response"]["result"]["is_explain"] is True
    assert client.rows("SELECT count(*) FROM t") == [["2"]]


def test_a_text_is_stored_and_used_by_its_number(serve):
    client = serve()
    stored, used, closed, gone = client.pipeline(
        {"type": "store_sql", "sql_id": 3, "sql": "SELECT 7"},
        {"type": "execute", "stmt": {"sql_id": 3}},
        {"type": "close_sql", "sql_id": 3},
        {"type": "execute", "stmt": {"sql_id": 3}},
    )
    assert [one["type"] for one in (stored, used, closed, gone)] == ["ok", "ok", "ok", "error"]
    assert used["response"]["result"]["rows"] == [[integer(7)]]


def test_a_sequence_runs_all_statements_of_a_text(serve):
    client = serve(writes=True)
    sql = "BEGIN; DELETE FROM t WHERE id = 1; -- ;\nINSERT INTO t (id) VALUES (5); COMMIT;"
    (answer,) = client.pipeline({"type": "sequence", "sql": sql})
    assert answer["type"] == "ok", answer
    assert client.rows("SELECT id FROM t ORDER BY id") == [["2"], ["5"]]


# Who may ask, and what


@pytest.mark.parametrize("header", [None, "", "Bearer x", "Basic {token}", "{token}"])
def test_without_the_token_nothing_is_run(serve, header):
    client = serve(writes=True)
    headers = {} if header is None else {"Authorization": header.format(token=client.server.token)}
    body = json.dumps({"requests": [execute("DELETE FROM t")]})
    status, content = client.call("POST", "/v3/pipeline", body, headers)
    assert status == 401
    assert client.server.token not in content
    assert client.rows("SELECT count(*) FROM t") == [["2"]]


def test_another_host_name_is_refused(serve):
    client = serve()
    headers = {"Authorization": f"Bearer {client.server.token}", "Host": "evil.example:80"}
    assert client.call("POST", "/v3/pipeline", "{}", headers)[0] == 401


@pytest.mark.parametrize("body", ["", "{", "[]", "3", "null", "{}", '{"requests": 3}', "[" * 100_000])
def test_what_is_no_request_is_refused_and_the_server_goes_on(serve, body):
    client = serve()
    assert client.call("POST", "/v3/pipeline", body)[0] == 400
    assert client.rows("SELECT 1") == [["1"]]


@pytest.mark.parametrize(
    "request_", [{}, 3, None, {"type": "x"}, {"type": "execute"}, execute(None), execute("")]
)
def test_a_request_of_the_wrong_form_is_an_error_of_its_own(serve, request_):
    wrong, right = serve().pipeline(request_, execute("SELECT 1"))
    assert right["type"] == "ok"
    assert wrong["type"] == "error" or request_ == execute("")


def test_a_request_that_is_too_long_is_refused_before_it_is_read(serve, monkeypatch):
    client = serve()
    monkeypatch.setattr(server_module, "LONGEST", 10)
    assert client.call("POST", "/v3/pipeline", "x" * 100)[0] == 413


def test_a_path_that_is_no_part_of_the_protocol_is_not_found(serve):
    assert serve().call("POST", "/v4/pipeline", "{}")[0] == 404


def test_it_listens_on_this_machine_alone(serve):
    assert serve().server.server_address[0] == "127.0.0.1"


def test_a_relay_that_is_away_is_told(relay):
    away = driver.relay("http://127.0.0.1:9", "a-token-of-the-relay")
    server = Server(lambda: driver.connect(away, DATABASES["durable_object"], timeout=0.5))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        answer = Client(server).execute("SELECT 1")
        assert answer["code"] == "SQLITE_ERROR"
        assert "a-token-of-the-relay" not in answer["message"]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_eight_clients_at_once_get_their_own_rows(serve):
    client = serve(writes=True)
    found = {}

    def work(number):
        own = Client(client.server)
        found[number] = [own.rows("SELECT ?", integer(number)) for _ in range(5)]

    threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [[[str(number)]]] * 5 for number in range(8)}
