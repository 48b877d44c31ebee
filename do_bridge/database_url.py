"""Databases as URLs: `d1://` for D1, `do://` for Durable Objects."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import wraps
from math import isfinite
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from django.core.exceptions import ImproperlyConfigured

from do_bridge.driver.places import JURISDICTIONS
from do_bridge.driver.transport import is_on_this_machine

__all__ = ["parse", "register"]

ENGINES: Final = {"d1": "do_bridge.backends.d1", "do": "do_bridge.backends.durable_object"}
CLOUDFLARE_API: Final = "api.cloudflare.com"
_WRITE: Final = "Write {}://:<token>@<host>/<name>."
_WORDS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def parse(url: str) -> dict[str, Any]:
    """Return the settings of a database for DATABASES.

    * `d1://:<relay token>@<relay host>/<database id>`
    * `d1://<account id>:<API token>@api.cloudflare.com/<database id>?transport=rest`
    * `do://:<relay token>@<relay host>/<object name>`; without a name it is the template of tenants' aliases
    * `do://:<relay token>@<relay host>/<object name>?jurisdiction=eu`

    The parts are percent-decoded. The query holds `OPTIONS` of the engine, `test_name` and `test_clones`
    for `TEST`, and `tls`, which is off for this machine alone if it is left out. Raises
    ImproperlyConfigured, without a value of the URL in its message.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname or "", parts.port
        user, password = (unquote(part or "", errors="strict") for part in (parts.username, parts.password))
        name = unquote(parts.path.removeprefix("/"), errors="strict")
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        is_whole = not parts.fragment
    except ValueError:
        # The error itself would show a part of the token.
        is_whole = False
    if not is_whole:
        raise ImproperlyConfigured(
            "The URL of a database cannot be read. Percent-encode the token, for example with "
            "urllib.parse.quote(token, safe='')."
        )
    if parts.scheme not in ENGINES:
        raise ImproperlyConfigured(
            "The URL of a database must begin with d1:// or do://. Call do_bridge.database_url.parse() for "
            "these alone."
        )
    options: dict[str, Any] = {}
    for key, value in query:
        if key in options:
            raise ImproperlyConfigured(f"The URL of a database has the option {key!r} twice.")
        options[key] = value
    return _settings(parts.scheme, user, password, host, port, name, options)


def register() -> None:
    """Register `d1://` and `do://` with django-environ and dj-database-url.

    A library that is not installed is skipped. Call it in the settings, before `env.db_url()` or
    `dj_database_url.config()`. May be called again.
    """
    for name, teach in (("environ", _teach_environ), ("dj_database_url", _teach_dj_database_url)):
        try:
            library = importlib.import_module(name)
        except ImportError:
            continue
        teach(library)


def _teach_environ(library: Any) -> None:
    environ_class = library.Env
    if ENGINES.items() <= environ_class.DB_SCHEMES.items():
        return
    environ_class.DB_SCHEMES.update(ENGINES)
    # A scheme alone would leave the relay's address without https:// and options unchecked.
    original = environ_class.db_url_config.__func__

    @wraps(original)
    def db_url_config(cls: Any, url: Any, engine: str | None = None) -> Any:
        text = url if isinstance(url, str) else urlunsplit(url[:3] + url[4:])
        if text.partition("://")[0] not in ENGINES:
            return original(cls, url, engine)
        return parse(text) | ({"ENGINE": engine} if engine else {})

    environ_class.db_url_config = classmethod(db_url_config)


def _teach_dj_database_url(library: Any) -> None:
    for scheme, engine in ENGINES.items():
        library.register(scheme, engine)(_finish(scheme))


def _finish(scheme: str) -> Callable[[dict[str, Any]], None]:
    """Return the function that completes what dj-database-url has read."""

    def finish(config: dict[str, Any]) -> None:
        user, password, host = (str(config[key]) for key in ("USER", "PASSWORD", "HOST"))
        port, name, given = config["PORT"] or None, config["NAME"], config["OPTIONS"]
        config.update(_settings(scheme, user, password, host, port, name, given))

    return finish


def _settings(
    scheme: str,
    user: str,
    password: str,
    host: str,
    port: int | None,
    name: str,
    given: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the settings that the decoded parts of a URL stand for."""
    options = _read_options(scheme, given)
    tls = options.pop("tls", None)
    test = {key[5:].upper(): options.pop(key) for key in ("test_name", "test_clones") if key in options}
    if not host:
        raise ImproperlyConfigured(f"The {scheme}:// URL has no host. {_WRITE.format(scheme)}")
    if user and password:
        if options.get("transport") != "rest":
            raise ImproperlyConfigured(
                f"The {scheme}:// URL has a user name, which only transport=rest takes, for the account's "
                f"id. {_WRITE.format(scheme)}"
            )
        options["account_id"] = user
    base = _base(host, port, tls)
    if scheme == "d1":
        path, _, name = name.rpartition("/")
        base += _base_path(options, host, path)
        if not name:
            raise ImproperlyConfigured(f"The d1:// URL has no database's id. {_WRITE.format(scheme)}")
    elif "@" in name:
        raise ImproperlyConfigured(
            "The do:// URL has an '@' in the object's name. Write its jurisdiction as ?jurisdiction=eu."
        )
    made: dict[str, Any] = {"ENGINE": ENGINES[scheme], "NAME": name, "HOST": base, "PORT": "", "USER": ""}
    made |= {"PASSWORD": password or user, "OPTIONS": options}
    return made | ({"TEST": test} if test else {})


def _base(host: str, port: int | None, tls: bool | None) -> str:
    """Return the address of the relay or the API.

    If `tls` is None, TLS is used for every host except this machine.
    """
    netloc = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
    if tls is None:
        tls = not is_on_this_machine(f"http://{netloc}")
    return f"{'https' if tls else 'http'}://{netloc}"


def _base_path(options: Mapping[str, Any], host: str, path: str) -> str:
    """Return the path of D1's API; a relay has none."""
    if options.get("transport") != "rest":
        if path:
            raise ImproperlyConfigured("The d1:// URL has a path before the database's id. Remove it.")
        return ""
    if not path and host == CLOUDFLARE_API:
        return "/client/v4"
    return f"/{path}" if path else ""


def _read_options(scheme: str, given: Mapping[str, Any]) -> dict[str, Any]:
    known = {**_OPTIONS[scheme], **_BESIDES[scheme]}
    if unknown := given.keys() - known.keys():
        raise ImproperlyConfigured(
            f"The {scheme}:// URL has the unknown option {', '.join(sorted(map(repr, unknown)))}. "
            f"Use {', '.join(sorted(known))}."
        )
    read = {}
    for name, value in given.items():
        convert, meaning = known[name]
        try:
            if isinstance(value, list):
                raise ValueError
            read[name] = convert(str(value))
        except (ValueError, KeyError):
            raise ImproperlyConfigured(
                f"The option {name!r} of the {scheme}:// URL must be {meaning}, once."
            ) from None
    return read


def _boolean(text: str) -> bool:
    return _WORDS[text.lower()]


def _seconds(text: str) -> float:
    if not isfinite(seconds := float(text)):
        raise ValueError
    return seconds


_Reader = tuple[Callable[[str], Any], str]


def _one_of(*words: str) -> _Reader:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError
        return text

    return read, " or ".join(words)


def _text(text: str) -> str:
    if not text:
        raise ValueError
    return text


_SECONDS: Final[_Reader] = (_seconds, "a number of seconds")
_FLAG: Final[_Reader] = (_boolean, "true or false")
_POOL: Final[dict[str, _Reader]] = {
    "timeout": _SECONDS,
    "connect_timeout": _SECONDS,
    "pool_size": (int, "a whole number"),
    "spare_sessions": (int, "a whole number"),
    "transaction_mode": (_text, "a text"),
}
#: By scheme, what goes to the engine's OPTIONS.
_OPTIONS: Final[dict[str, dict[str, _Reader]]] = {
    "d1": {
        **_POOL,
        "transport": _one_of("relay", "rest"),
        "transactions": _one_of("none", "optimistic"),
        "max_writes": (int, "a whole number"),
    },
    "do": {
        **_POOL,
        "write_keys": _FLAG,
        "lease": _SECONDS,
        "migration_lease": _SECONDS,
        "jurisdiction": _one_of(*JURISDICTIONS),
    },
}
_TEST_NAME: Final[dict[str, _Reader]] = {"tls": _FLAG, "test_name": (_text, "a name")}
#: By scheme, what goes elsewhere.
_BESIDES: Final[dict[str, dict[str, _Reader]]] = {
    "d1": {**_TEST_NAME, "test_clones": (lambda text: text.split(","), "ids with commas between them")},
    "do": _TEST_NAME,
}
