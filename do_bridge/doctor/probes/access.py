"""Probes of the relay itself: its tokens, its sessions, the names it accepts."""

from __future__ import annotations

from typing import Final

from do_bridge.doctor.databases import Database
from do_bridge.doctor.probe import D1, EVERY, OBJECT, RELAY, REST, Group, Measured, Probe, Skip, Wrong, expect
from do_bridge.doctor.relay import Relay
from do_bridge.driver import Error

PROBES: list[Probe] = []
_group = Group("Reaching the databases", PROBES)

#: If this probe fails, no other probe of the database runs.
ANSWERS: Final = "answers"
_MOST_BYTES: Final = 16 * 2**20
_OLDEST_SESSION: Final = 3600
# Never `wrangler delete`: the objects and their data go with the Worker.
_CLOSE: Final = (
    "Disable the Worker's address in Cloudflare's dashboard (Settings, Domains & Routes) and report this."
)


@_group.probe(
    "health",
    on=RELAY,
    fact="`/healthz` answers 200 with `ok` and the deployed version, and needs no token.",
    why="A deploy waits for its version there before it migrates, and monitoring reads it.",
    fix="Read the log with `npx wrangler tail` in worker/, then deploy the Worker again.",
)
def health(relay: Relay) -> Measured:
    reply = relay.get("/healthz")
    expect(reply.status, 200, "the status of /healthz")
    body = reply.body if isinstance(reply.body, dict) else {}
    expect(body.get("ok"), True, "`ok` in the answer of /healthz")
    if not body.get("version"):
        raise Wrong("/healthz has no version, so the server is not this package's Worker")
    return {"version": str(body["version"])}


@_group.probe(
    "encrypted",
    on=RELAY,
    fact="`RELAY_URL` begins with https:// unless it is on this machine.",
    why="Without TLS the token, which is sent with every connection, can be read on its way.",
    fix="Set RELAY_URL to the https:// address that the deploy printed.",
)
def encrypted(relay: Relay) -> None:
    if not relay.is_encrypted:
        raise Wrong(f"the token travels unencrypted to {relay.name}")


@_group.probe(
    "token-required",
    on=RELAY,
    fact="Without a token every path but `/healthz` answers 401, whether it exists or not.",
    why="Otherwise anyone could read and write all databases.",
    fix=_CLOSE,
)
def token_required(relay: Relay) -> None:
    for path in ("/v1/session", "/no-such-path"):
        expect(relay.get(path).status, 401, f"the status of {path} without a token")


@_group.probe(
    "token-wrong",
    on=RELAY,
    fact="The relay refuses with 401 a token that differs in one character, is cut short or is longer.",
    why="Otherwise a token could be guessed step by step.",
    fix=_CLOSE,
)
def token_wrong(relay: Relay) -> None:
    other = "b" if relay.token.endswith("a") else "a"
    for what, token in (
        ("with another last character", relay.token[:-1] + other),
        ("without its last character", relay.token[:-1]),
        ("with one more character", relay.token + other),
    ):
        try:
            relay.open(token)
        except Error as error:
            expect(error.http_status, 401, f"the status for the token {what}")
        else:
            raise Wrong(f"the relay accepted the token {what}")


@_group.probe(
    "token-scope",
    on=(OBJECT, D1),
    fact="A token for objects is refused on D1 and a token for D1 on objects.",
    why="Otherwise a leaked token would open more than it was made for.",
    fix="Give RELAY_TOKEN_TENANTS and RELAY_TOKEN_DIRECTORY different values and deploy the Worker again.",
)
def token_scope(database: Database) -> None:
    if not database.scoped:
        raise Skip("one token opens both kinds of databases")
    name = "d1:00000000-0000-4000-8000-000000000000" if database.kind == OBJECT else "do:doctor/scope"
    expect(database.named(name).refusal("SELECT 1").kind, "forbidden", "the kind of the refusal")


@_group.probe(
    "handshake",
    on=RELAY,
    fact="A session offers idempotency keys, requests of 16 MiB and an end after at most an hour.",
    why="Without keys a lost answer leaves the outcome unknown. Without an end a removed token still works.",
    fix="Run `manage.py relay deploy`, and leave SESSION_MAX_SECONDS at 3600 or below.",
)
def handshake(relay: Relay) -> Measured:
    terms = relay.open(relay.token)
    expect(terms.keys, True, "idempotency keys offered")
    if terms.max_message < _MOST_BYTES:
        raise Wrong(f"requests may have {terms.max_message:,} bytes instead of {_MOST_BYTES:,}")
    if not 0 < terms.seconds <= _OLDEST_SESSION:
        raise Wrong(f"a session may last {terms.seconds:,} s instead of at most {_OLDEST_SESSION:,}")
    if terms.subrequests < 1:
        raise Wrong(f"a session may make {terms.subrequests} requests")
    return {
        "largest request (bytes)": terms.max_message,
        "requests of a session": terms.subrequests,
        "seconds of a session": terms.seconds,
    }


@_group.probe(
    ANSWERS,
    on=EVERY,
    fact="The database answers `SELECT 1`.",
    why="Nothing works without it.",
    fix="Follow the message, which names the setting. D1's id must be in D1_DATABASES of wrangler.jsonc.",
)
def answers(database: Database) -> None:
    expect(database.value("SELECT 1 AS one"), 1, "SELECT 1")


@_group.probe(
    "object-names",
    on=OBJECT,
    fact="An object name with capitals, spaces, `..` or five parts is refused before it reaches an object.",
    why="Otherwise a slug that slipped through validation could reach another tenant's object.",
    fix="Run `manage.py relay deploy`.",
)
def object_names(database: Database) -> None:
    for name in ("Doctor", "doc tor", "doctor/../x", "a/b/c/d/e", "doctor/"):
        expect(
            database.named(f"do:{name}").refusal("SELECT 1").kind, "bad_request", "the kind of the refusal"
        )


@_group.probe(
    "unknown-database",
    on=(D1, REST),
    fact="An id without a D1 database is refused, and never looks like an empty database.",
    why="Otherwise a wrong CLOUDFLARE_DATABASE_ID would look like a database without tables.",
    fix="Check CLOUDFLARE_DATABASE_ID with `npx wrangler d1 list`, and report this.",
    local={REST: "the local API answers for any id, as an empty database"},
)
def unknown_database(database: Database) -> None:
    error = database.named("d1:00000000-0000-4000-8000-00000000dead").refusal("SELECT 1")
    if error.kind != "unknown_database" and error.http_status not in (400, 403, 404):
        raise Wrong(f"the refusal has the kind {error.kind}: {error}")


@_group.probe(
    "rest-token",
    on=REST,
    fact="Cloudflare's API refuses a wrong token.",
    why="Otherwise D1_API_BASE leads to something other than Cloudflare's API.",
    fix="Leave D1_API_BASE empty, or set it to https://api.cloudflare.com/client/v4.",
    local={REST: "the local API needs no token"},
)
def rest_token(database: Database) -> None:
    stranger = database.stranger()
    if stranger is None:
        raise Wrong("the API is used without a token")
    error = stranger.refusal("SELECT 1")
    if error.http_status not in (400, 401, 403):
        raise Wrong(f"the answer to a wrong token has the status {error.http_status}: {error}")
