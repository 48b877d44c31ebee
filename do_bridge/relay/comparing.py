"""Compare the relay that is deployed with the package that is installed."""

from __future__ import annotations

from dataclasses import dataclass

from do_bridge.version import __version__

from . import health


@dataclass(frozen=True)
class Comparison:
    """Both sides, and what to do; ``advice`` is empty if that is nothing."""

    url: str
    relay: health.Health
    advice: str

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Return a table: side, version of do_bridge, version of the protocol, remark."""
        found = self.relay
        remark = found.problem or f"{self.url}, deployment {found.version}"
        if found.jurisdiction:
            remark += f", serves the jurisdiction {found.jurisdiction} alone"
        package = found.package or ("-" if found.problem else "unknown")
        return [
            ("", "do_bridge", "protocol", ""),
            ("package", __version__, str(health.PROTOCOL), "installed here"),
            ("relay", package, str(found.protocol or "-"), remark),
        ]

    def as_dict(self) -> dict[str, object]:
        """Return the comparison for JSON."""
        return {
            "package": {"version": __version__, "protocol": health.PROTOCOL},
            "relay": {"url": self.url, **vars(self.relay)},
            "advice": self.advice,
        }


def compare(url: str) -> Comparison:
    """Read the relay's versions and compare them."""
    found = health.read(url)
    return Comparison(url, found, _advice(url, found))


def _advice(url: str, found: health.Health) -> str:
    if found.problem == "HTTP 503":
        return f"{url} has no RELAY_TOKEN. Run `manage.py relay deploy`."
    if found.problem:
        return f"{url} did not answer as a relay. Check RELAY_URL and the network."
    if found.protocol not in (0, health.PROTOCOL):
        older = found.protocol < health.PROTOCOL
        command = "manage.py relay deploy" if older else "pip install --upgrade do-bridge"
        return (
            f"The relay speaks version {found.protocol} of the protocol and the package version "
            f"{health.PROTOCOL}, so they cannot work together. Run `{command}`."
        )
    if health.release(found.package) < health.release(__version__):
        return "The relay is older than the package. Run `manage.py relay deploy`."
    if health.release(found.package) > health.release(__version__):
        return "The package is older than the relay. Run `pip install --upgrade do-bridge`."
    return ""
