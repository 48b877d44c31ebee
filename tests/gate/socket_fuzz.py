"""Fuzzes the relay's sessions: many frames at once, and what must be true of every answer."""

from __future__ import annotations

import asyncio
import copy
import json
import random
import re
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from . import frames
from .frames import Frame
from .ledger import Ledger, target_of

# The kinds and effects of worker/PROTOCOL.md.
KINDS = frozenset(
    ("sql", "bad_request", "forbidden", "too_large", "unknown_database", "unsupported", "no_transaction")
    + ("lease_expired", "foreign_key", "schema_mismatch", "session_limit", "stale_key", "answer_lost")
    + ("retry", "overloaded", "reset", "internal")
)
EFFECTS = frozenset({"none", "statement", "ended", "done", "unknown"})
# What an error of our own code or of the runtime's would show.
TRACES = re.compile(r"\n\s+at |\.ts\b|\.js:\d|\.c\+\+|node_modules|file://|/tmp/|/home/|/root/|Bearer ")
# What a reset says, which INSERT OR ROLLBACK and deferred keys bring about: not an error of the relay's code.
RUNTIMES_OWN = re.compile(r"internal error; reference = \w+$")
ANSWER_SECONDS = 60.0
FRAMES_IN_ROUND = 200


@dataclass
class Report:
    """What a run did, and what was wrong with it."""

    messages: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def check(self, holds: bool, message: str) -> None:
        """Take note of what does not hold."""
        if not holds:
            self.violations.append(message)


@dataclass
class Round:
    """The frames of one session, and what their answers mean for the markers in them."""

    rng: random.Random
    ledger: Ledger
    databases: list[str]
    scope: str
    number: int
    sent: list[str | bytes] = field(default_factory=list)
    batches: dict[int, list[str]] = field(default_factory=dict)
    # Two frames with one key: the same write, sent twice.
    twice: dict[tuple[int, int], list[str]] = field(default_factory=dict)
    refused: dict[int, list[str]] = field(default_factory=dict)
    scripts: list[Script] = field(default_factory=list)
    cleanups: list[Frame] = field(default_factory=list)
    ids: int = 0

    def new_id(self) -> int:
        """An id that no spoilt one becomes by chance."""
        self.ids += 1
        return self.ids * 100_000 + zlib.crc32(f"{self.number}:{self.ids}".encode()) % 100_000

    def allowed(self, database: str) -> bool:
        """Whether the session's token reaches a database."""
        return self.scope in ("all", database[:2])

    def send(self, frame: Frame, *, plain: bool = False) -> list[str]:
        """Queue a good frame; returns its markers."""
        text = json.dumps(frame, ensure_ascii=plain or self.rng.random() < 0.5)
        if not text.isascii() and any("\ud800" <= char < "\ue000" for char in text):
            text = json.dumps(frame)
        self.sent.append(text)
        return self.ledger.note(text, frame.get("db"))

    def good_batch(self) -> None:
        """A batch with a marker among other statements."""
        database = self.rng.choice(self.databases)
        _, marked = self.ledger.statement()
        steps = [marked, *(frames.statement(self.rng) for _ in range(self.rng.choice([0, 0, 0, 1, 2])))]
        self.rng.shuffle(steps)
        frame = {"id": self.new_id(), "op": "batch", "db": database, "steps": steps}
        markers = self.send(frame)
        known = self.batches if self.allowed(database) else self.refused
        known[frame["id"]] = markers

    def keyed_batch(self) -> None:
        """A batch that is sent twice under one key, and asked for."""
        database = self.rng.choice(self.databases)
        _, marked = self.ledger.statement()
        key = f"{self.rng.getrandbits(128):032x}:{self.rng.choice([1, 10**15 - 1])}"
        frame = {"op": "batch", "db": database, "key": key, "steps": [marked]}
        first, second = self.new_id(), self.new_id()
        markers = self.send({"id": first, **frame})
        self.send({"id": second, **frame, "again": True})
        self.send({"id": self.new_id(), "op": "outcome", "db": database, "key": key})
        if not self.allowed(database):
            self.refused[first] = markers
        elif database.startswith("do:"):
            self.twice[first, second] = markers

    def stray(self) -> None:
        """A request for a transaction that was never begun, or for another database's."""
        database = self.rng.choice(self.databases)
        _, marked = self.ledger.statement()
        name = "never-begun"
        others = [script for script in self.scripts if script.database != database]
        if others:
            name = self.rng.choice(others).name
        frame = {"id": self.new_id(), "op": "tx", "db": database, "tx": name, "steps": [marked]}
        self.refused[frame["id"]] = self.send(frame)

    def spoilt(self) -> None:
        """A frame whose values, shape or text have been changed."""
        _, marked = self.ledger.statement()
        good: Frame = {"op": "batch", "db": self.rng.choice(self.databases), "steps": [marked]}
        kind = self.rng.random()
        if kind < 0.1:
            good |= {"key": f"{self.rng.getrandbits(128):032x}:7", "again": True}
        elif kind < 0.3:
            good |= {"op": "tx", "tx": f"s{self.ids}", "begin": True, "lease_ms": 500}
        elif kind < 0.7:
            good = copy.deepcopy(self.rng.choice(SAMPLES))
            if self.rng.random() < 0.7:
                good["db"] = self.rng.choice(self.databases)
        frame = {**good, "id": self.new_id()}
        for _ in range(self.rng.choice([0, 1, 1, 2, 5])):
            frame = frames.spoil_value(frame, self.rng)
        text = json.dumps(frame)[:400_000]
        if self.rng.random() < 0.4:
            text = frames.spoil_text(text, self.rng)
        self.send_text(text)

    def send_text(self, text: str) -> None:
        """Queue a text as it is; a transaction that it may begin is ended at the end of the round."""
        self.ledger.note(text, target_of(text))
        self.sent.append(text.encode() if self.rng.random() < 0.05 else text)
        try:
            frame = json.loads(text)
        except (ValueError, RecursionError):
            return
        if isinstance(frame, dict) and frame.get("begin") is True and isinstance(frame.get("tx"), str):
            self.cleanups.append(
                {"op": "tx", "db": frame.get("db"), "tx": frame["tx"], "steps": [{"rollback": True}]}
            )

    def build(self) -> None:
        """Queue a round's frames, those of several transactions among each other."""
        waiting: list[Script] = []
        while len(self.sent) < FRAMES_IN_ROUND:
            dice = self.rng.random()
            if dice < 0.2:
                self.good_batch()
            elif dice < 0.25:
                self.keyed_batch()
            elif dice < 0.5:
                if not waiting or self.rng.random() < 0.08:
                    waiting.append(Script(self))
                script = self.rng.choice(waiting)
                if script.advance():
                    waiting.remove(script)
            elif dice < 0.8:
                self.spoilt()
            elif dice < 0.9:
                self.send_text(frames.noise(self.rng))
            elif dice < 0.95:
                self.stray()
            else:
                self.send(
                    {"id": self.new_id(), "op": self.rng.choice(["ping", "size"]), "db": self.databases[0]}
                )
        for script in waiting:
            script.finish()
        for frame in self.cleanups:
            self.send({**frame, "id": self.new_id()}, plain=True)

    def judge(self, answers: dict[int, Frame]) -> None:
        """Say what the answers mean for the markers."""
        for markers in self.refused.values():
            self.ledger.expect(markers, 0)
        for frame_id, markers in self.batches.items():
            error = answers[frame_id].get("error")
            if error is None or error["effect"] == "none":
                self.ledger.expect(markers, 0 if error else 1)
        for pair, markers in self.twice.items():
            errors = [answers[frame_id].get("error") for frame_id in pair]
            effects = {"none" if error is None else error["effect"] for error in errors}
            if effects <= {"none", "done"}:
                self.ledger.expect(markers, int(None in errors or "done" in effects))
        for script in self.scripts:
            if script.frames:
                script.judge(answers)


class Script:
    """One transaction: markers, a savepoint, statements that fail, and an end or none."""

    def __init__(self, around: Round) -> None:
        self.round = around
        # No name of the wire examples: they would end this transaction.
        self.name = f"script-{len(around.scripts)}"
        self.database = around.rng.choice(around.databases)
        self.step = 0
        self.inner = around.rng.choice(["rollback_to", "release"])
        self.end = around.rng.choice(["commit", "commit", "rollback", "none"])
        self.markers: dict[str, tuple[int, list[str]]] = {}
        self.frames: list[int] = []
        self.ended_by: int | None = None
        self.control = 0
        around.scripts.append(self)

    def advance(self) -> bool:
        """Queue the next frame; True after the last."""
        plan = ("base", "weird", "inner", "weird", self.inner, "after", self.end)
        what = plan[self.step]
        self.step += 1
        if what in ("base", "inner", "after"):
            self._marked(what)
        elif what == "weird":
            self._send([frames.statement(self.round.rng)])
        elif what in ("commit", "rollback"):
            end: Frame = {what: True}
            if what == "commit" and self.round.rng.random() < 0.3:
                end["key"] = f"{self.round.rng.getrandbits(128):032x}:1"
            self.ended_by = self._send([end])
        elif what == "none":
            self.finish()
        else:
            self.control = self._send([{what: "sp"}])
        return self.step == len(plan)

    def finish(self) -> None:
        """End by a rollback what was left open."""
        if self.step and self.ended_by is None:
            self.end = "rollback"
            self.ended_by = self._send([{"rollback": True}])

    def judge(self, answers: dict[int, Frame]) -> None:
        """Expect the markers of what was committed, and none of what was not."""
        last = answers[self.frames[-1]].get("error")
        committed = self.end == "commit" and last is None
        if not committed and last is not None and last["effect"] == "unknown":
            return
        undone = self.control and self.inner == "rollback_to" and "error" not in answers[self.control]
        for what, (frame_id, texts) in self.markers.items():
            stands = committed and "error" not in answers[frame_id] and not (what == "inner" and undone)
            self.round.ledger.expect(texts, int(stands))

    def _marked(self, what: str) -> None:
        _, marked = self.round.ledger.statement()
        steps = [{"savepoint": "sp"}, marked] if what == "inner" else [marked]
        frame_id = self._send(steps)
        self.markers[what] = (frame_id, self._last)

    def _send(self, steps: list[Frame]) -> int:
        frame: Frame = {
            "id": self.round.new_id(),
            "op": "tx",
            "db": self.database,
            "tx": self.name,
            "steps": steps,
        }
        if not self.frames:
            frame |= {"begin": True, "lease_ms": self.round.rng.choice([100, 2000, 2000, 2000])}
        self._last = self.round.send(frame)
        self.frames.append(frame["id"])
        return int(frame["id"])


# But for those that drop the table of the keys: a write that was sent twice would rightly run twice.
SAMPLES = [frame for frame in frames.sample_frames() if "_do_bridge_keys" not in json.dumps(frame)]


class SocketFuzzer:
    """Runs rounds side by side against one relay, with tokens of every scope."""

    def __init__(self, url: str, tokens: dict[str, str], databases: list[str], ledger: Ledger) -> None:
        self.url = url.replace("http", "ws", 1) + "/v1/session"
        self.tokens = tokens
        self.databases = databases
        self.ledger = ledger
        self.report = Report()

    async def run(self, messages: int, seed: int, sessions: int = 6) -> Report:
        """Send at least so many messages over so many sessions at a time."""
        rng = random.Random(seed)  # noqa: S311 - it chooses inputs.
        numbers = iter(range(10**9))

        async def work() -> None:
            while self.report.messages < messages and len(self.report.violations) < 20:
                await self._round(random.Random(rng.random()), next(numbers))  # noqa: S311

        await asyncio.gather(*(work() for _ in range(sessions)))
        return self.report

    async def _round(self, rng: random.Random, number: int) -> None:
        scope = rng.choice(["all", "all", "do", "d1"])
        round_ = Round(rng, self.ledger, rng.sample(self.databases, 4), scope, number)
        round_.build()
        self.report.messages += len(round_.sent)
        headers = {"Authorization": f"Bearer {self.tokens[scope]}"}
        async with connect(
            self.url,
            additional_headers=headers,
            subprotocols=["do-bridge.v1"],  # type: ignore[list-item]
            compression=None,
            max_size=None,
            open_timeout=ANSWER_SECONDS,
            ping_interval=None,
        ) as socket:
            answers = await self._exchange(socket, round_)
        if answers is not None:
            round_.judge(answers)

    async def _exchange(self, socket: ClientConnection, round_: Round) -> dict[int, Frame] | None:
        answers: dict[int, Frame] = {}
        nameless = 0
        good = {*round_.batches, *round_.refused, *(frame_id for pair in round_.twice for frame_id in pair)}
        good |= {frame_id for script in round_.scripts for frame_id in script.frames}

        async def receive() -> None:
            nonlocal nameless
            while len(answers) + nameless < len(round_.sent):
                answer = self._read(await socket.recv())
                if answer.get("id") is None:
                    nameless += 1
                    continue
                frame_id = int(answer["id"])
                if frame_id in answers:
                    self.report.check(
                        frame_id not in good, f"round {round_.number}: {frame_id} answered twice"
                    )
                    nameless += 1
                answers.setdefault(frame_id, answer)

        async def send() -> None:
            for data in round_.sent:
                await socket.send(data)

        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await asyncio.gather(receive(), send())
        except TimeoutError:
            missing = len(round_.sent) - len(answers) - nameless
            self.report.check(False, f"round {round_.number}: {missing} frames were not answered")
            return None
        except ConnectionClosed as error:
            self.report.check(False, f"round {round_.number}: the session was closed: {error}")
            return None
        self.report.check(
            good <= answers.keys(), f"round {round_.number}: answers to good frames are missing"
        )
        return answers if good <= answers.keys() else None

    def _read(self, data: str | bytes) -> Frame:
        """Check one answer; what it says is counted."""
        text = data if isinstance(data, str) else data.decode(errors="replace")
        check_text(text, self.tokens.values(), self.report)
        answer: Any = json.loads(text)
        self.report.check(
            answer.keys() <= {"id", "results", "error", "session"}, f"unknown fields: {text[:200]}"
        )
        error = answer.get("error")
        if error is None:
            self.report.answers["ok"] += 1
            return answer  # type: ignore[no-any-return]
        self.report.answers[error.get("kind")] += 1
        known = error.get("kind") in KINDS and error.get("effect") in EFFECTS
        self.report.check(known, f"an error of an unknown kind: {text[:300]}")
        ours = error.get("kind") == "internal" and not RUNTIMES_OWN.match(error.get("message", ""))
        self.report.check(not ours, f"an internal error: {text[:300]}")
        return answer  # type: ignore[no-any-return]


def check_text(text: str, secrets: Iterable[str], report: Report) -> None:
    """Nothing that the relay says names a secret or a place in the code."""
    report.check(not any(secret in text for secret in secrets), "an answer names a token")
    trace = TRACES.search(text)
    report.check(trace is None, f"an answer shows the code: {text[:300]}")
