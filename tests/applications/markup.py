"""What a page of HTML has to be followed and sent: the addresses of its links, the values of its form."""

from __future__ import annotations

from html.parser import HTMLParser

Attributes = list[tuple[str, str | None]]


def addresses(body: str) -> list[str]:
    """The addresses of a page's links, in its order."""
    parser = _Links()
    parser.feed(body)
    return parser.found


def form(body: str) -> dict[str, list[str]]:
    """The values of a page's largest form that is sent by POST; {} without one."""
    parser = _Forms()
    parser.feed(body)
    return max(parser.found, key=len, default={})


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: Attributes) -> None:
        address = dict(attrs).get("href")
        if tag in ("a", "area") and address:
            self.found.append(address)


class _Forms(HTMLParser):
    """Collects what a browser would send: no buttons, no files, no boxes that are not ticked."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, list[str]]] = []
        self._open = False
        self._select = self._area = ""

    def handle_starttag(self, tag: str, attrs: Attributes) -> None:
        named = dict(attrs)
        if tag == "form":
            self._open = (named.get("method") or "").lower() == "post"
            self.found += [{}] if self._open else []
        name, value = named.get("name") or "", named.get("value") or ""
        if tag == "select":
            self._select = name
        elif tag == "option" and self._select and "selected" in named:
            self._add(self._select, value)
        elif tag == "textarea" and name:
            self._area = name
            self._add(name, "")
        elif tag == "input" and name:
            self._input(name, value, named)

    def _input(self, name: str, value: str, named: dict[str, str | None]) -> None:
        kind = named.get("type") or "text"
        ticked = kind not in ("checkbox", "radio") or "checked" in named
        if ticked and kind not in ("submit", "file", "button", "image"):
            self._add(name, value or ("on" if kind == "checkbox" else ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = False
        elif tag == "select":
            self._select = ""
        elif tag == "textarea":
            self._area = ""

    def handle_data(self, data: str) -> None:
        if self._area and self._open:
            # The newline behind the tag is the markup's own.
            self.found[-1][self._area][-1] += data.removeprefix("\n")

    def _add(self, name: str, value: str) -> None:
        if self._open:
            self.found[-1].setdefault(name, []).append(value)
