"""What the labels' outcomes amount to: counts, scores against a baseline, causes and tables."""
import collections
import json
import os
import re


def aggregate(label, events_path, log_path, status, wall):
    r = {
        "status": status, "wall_s": round(wall, 2), "statements": 0, "db_s": 0.0,
        "create_s": None, "create_statements": None, "planned": 0, "run": 0,
        "passed": [], "failed": {}, "errored": {}, "skipped": {}, "subskips": {},
        "xfail": {}, "uxsuccess": [], "class_errors": {}, "notrun": [],
        "databases": {}, "setup_error": None, "times": {},
    }
    ids, ended, started, outcome, details = [], False, [], {}, {}
    rank = {"ok": 0, "skip": 1, "xfail": 1, "uxsuccess": 1, "fail": 2, "error": 3}
    try:
        lines = open(events_path, errors="replace").read().splitlines()
    except FileNotFoundError:
        lines = []
    for line in lines:
        try:
            ev = json.loads(line)
        except ValueError:
            continue
        e = ev["e"]
        if e == "plan":
            ids = ev["ids"]
            r["databases"], r["create_s"] = ev["databases"], ev["create_s"]
            r["create_statements"] = ev["create_n"]
        elif e == "start":
            started.append(ev["id"])
        elif e == "stop":
            r["times"][ev["id"]] = [ev["s"], ev["n"]]
            # all so far: fixtures and flushes fall outside start..stop
            r["statements"], r["db_s"] = ev.get("c", 0), ev.get("d", 0)
        elif e == "end":
            ended = True
            r["statements"], r["db_s"] = ev["statements"], round(ev["db_s"], 3)
        elif e in ("setup_error", "crash"):
            if r["setup_error"] is None:
                r["setup_error"] = {k: ev.get(k) for k in ("exc", "msg", "where", "stage", "root")}
        elif e in ("heal", "heal_failed"):
            r[e] = r.get(e, 0) + 1
        elif e == "subskip":
            r["subskips"].setdefault(ev["id"], []).append([ev["kind"], ev["reason"]])
        elif e in rank:
            i = ev["id"]
            if e in ("error", "fail", "skip") and "(" in i and i not in started:
                m = re.match(r"(\w+) \((.+)\)$", i)
                if m:  # setUpClass (mod.Class), tearDownClass, setUpModule
                    r["class_errors"][i] = {
                        "kind": e, "what": m[1], "cls": m[2],
                        **{k: ev.get(k) for k in ("exc", "msg", "where", "reason", "root")
                           if ev.get(k) is not None}}
                    if e == "skip":
                        r["class_errors"][i]["skip_kind"] = ev["kind"]
                    continue
            if i not in outcome or rank[e] > rank[outcome[i]]:
                outcome[i], details[i] = e, ev
    if not r["statements"]:
        r["statements"] = sum(n for _, n in r["times"].values()) + (r["create_statements"] or 0)
    for i, e in outcome.items():
        ev = details[i]
        if e == "ok":
            r["passed"].append(i)
        elif e == "skip":
            r["skipped"][i] = [ev["kind"], ev["reason"]]
        elif e == "uxsuccess":
            r["uxsuccess"].append(i)
        else:
            d = {k: ev.get(k) for k in ("exc", "msg", "where", "sub", "root") if ev.get(k)}
            r[{"fail": "failed", "error": "errored", "xfail": "xfail"}[e]][i] = d
    r["planned"] = len(ids)
    r["run"] = len(set(started) & set(outcome))
    # A class skipped or broken in setUpClass takes its tests with it.
    by_cls = {v["cls"]: v for v in r["class_errors"].values() if v["what"] != "tearDownClass"}
    for i in ids:
        if i in outcome:
            continue
        cls = i.rsplit(".", 1)[0]
        ce = by_cls.get(cls) or by_cls.get(cls.rsplit(".", 1)[0])
        if ce and ce["kind"] == "skip":
            r["skipped"][i] = [ce["skip_kind"], ce["reason"]]
        elif ce:
            r["errored"][i] = {
                "exc": ce.get("exc"), "msg": ce.get("msg"), "where": ce.get("where"),
                "root": ce.get("root"), "via": ce["what"]}
        else:
            r["notrun"].append(i)
    if status == "done" and not ended:
        r["status"] = "crash"
    if r["setup_error"] or (r["status"] == "done" and not ids):
        r["status"] = "setup_error"
    if r["status"] in ("crash", "setup_error"):
        try:
            r["log_tail"] = open(log_path, errors="replace").read()[-3000:]
        except OSError:
            pass
    if r["status"] == "timeout" and started and started[-1] not in outcome:
        r["hung_in"] = started[-1]
    r["passed"].sort()
    return r


def load_baseline(path):
    if not path:
        return None
    data = json.load(open(path))
    if "pass" in data:  # the compact form
        return set(data["pass"])
    out = set()
    for lab in data["labels"].values():
        out.update(lab["passed"])
    return out


def score_label(label, r, base):
    if base is None:
        return
    want = {i for i in base if i == label or i.startswith(label + ".")}
    got = set(r["passed"])
    lost = want - got
    kinds = collections.Counter()
    for i in lost:
        if i in r["skipped"]:
            kinds["skip_" + r["skipped"][i][0]] += 1
        elif i in r["errored"]:
            kinds["error"] += 1
        elif i in r["failed"]:
            kinds["fail"] += 1
        elif i in r["xfail"]:
            kinds["xfail"] += 1
        else:
            kinds["notrun"] += 1
    r["baseline_pass"] = len(want)
    r["baseline_kept"] = len(want & got)
    r["score"] = round(len(want & got) / len(want), 4) if want else None
    r["lost"] = dict(kinds)
    r["extra_pass"] = sorted(got - want)
    # Without counting what never ran (timeout): of the tests that had a chance.
    had = want - set(i for i in lost if i not in r["skipped"] and i not in r["errored"]
                     and i not in r["failed"] and i not in r["xfail"])
    r["score_of_attempted"] = round(len(want & got) / len(had), 4) if had else None


NORM = [
    (re.compile(r"\bFile \S+"), "FILE"),
    (re.compile(r"0x[0-9a-f]+"), "0x"),
    (re.compile(r"'[^']{0,200}'"), "'X'"),
    (re.compile(r'"[^"]{0,200}"'), '"X"'),
    (re.compile(r"\b[a-z0-9_]+\.[a-z0-9_]+\b(?=[,:\s]|$)", re.I), "T.C"),
    (re.compile(r"-?\b\d+(\.\d+)?\b"), "N"),
    (re.compile(r"\s+"), " "),
]
KEEP = re.compile(
    r"(no such function: ?\w+|no such column: ?\w+|no such table|"
    r"near \S+: syntax error|too many \w+[\w ]*|has no attribute '\w+'|"
    r"UNIQUE constraint failed|FOREIGN KEY constraint failed|CHECK constraint failed|"
    r"NOT NULL constraint failed|not authorized|\w+ not raised|"
    r"D1_TYPE_ERROR|Object of type \w+ is not JSON serializable|"
    r"\w*pattern too complex|user-defined function raised exception|"
    r"duplicate column name|unrecognized token|incomplete input|datatype mismatch|"
    r"already exists|not JSON compliant|cannot start a transaction|"
    r"wrong number of arguments to function \w+)", re.I)


def cause(d):
    exc = (d.get("exc") or "?").replace("django.db.utils.", "")
    msg = (d.get("msg") or "").strip()
    m = KEEP.search(msg)
    if not m and d.get("root"):  # e.g. CommandError "couldn't be flushed"
        m = KEEP.search(d["root"])
        if m:
            return "%s <- %s" % (exc, m.group(1))
    if m:
        key = m.group(1)
        key = re.sub(r"no such column: ?\w+", "no such column", key)
        return "%s: %s" % (exc, key)
    first = msg.splitlines()[0] if msg else ""
    for rx, to in NORM:
        first = rx.sub(to, first)
    return "%s: %s" % (exc, first[:110])


def group_causes(labels):
    groups = collections.defaultdict(list)
    for lab, r in labels.items():
        for kind in ("failed", "errored"):
            for i, d in r[kind].items():
                groups[cause(d)].append((kind, i, d.get("msg", "")))
    return sorted(groups.items(), key=lambda kv: -len(kv[1]))


def counts_of(r):
    sk = collections.Counter(k for k, _ in r["skipped"].values())
    return {
        "planned": r["planned"], "run": r["run"], "passed": len(r["passed"]),
        "failed": len(r["failed"]), "errored": len(r["errored"]),
        "skip_feature": sk["feature"], "skip_vendor": sk["vendor"],
        "skip_list": sk["backend_skiplist"], "skip_other": sk["other"],
        "xfail": len(r["xfail"]), "notrun": len(r["notrun"]),
    }


COLS = ["planned", "passed", "failed", "errored", "skip_feature", "skip_vendor",
        "skip_list", "skip_other", "xfail", "notrun"]


def write_reports(out, meta, labels, order):
    tot = collections.Counter()
    rows = []
    for lab in order:
        if lab not in labels:
            continue
        r = labels[lab]
        c = counts_of(r)
        r["counts"] = c
        for k, v in c.items():
            tot[k] += v
        tot["wall_s"] += r["wall_s"]
        tot["statements"] += r["statements"]
        tot["baseline_pass"] += r.get("baseline_pass", 0)
        tot["baseline_kept"] += r.get("baseline_kept", 0)
        for k, v in r.get("lost", {}).items():
            tot["lost_" + k] += v
        rows.append((lab, r, c))
    summary = {"meta": meta, "totals": dict(tot), "labels": {l: r for l, r, _ in rows}}
    if tot["baseline_pass"]:
        summary["totals"]["score"] = round(tot["baseline_kept"] / tot["baseline_pass"], 4)
        att = tot["baseline_pass"] - tot["lost_notrun"]
        summary["totals"]["score_of_attempted"] = (
            round(tot["baseline_kept"] / att, 4) if att else None)
        # Leaving out tests that say they are for the sqlite (or other) vendor only.
        port = tot["baseline_pass"] - tot["lost_skip_vendor"]
        summary["totals"]["score_without_vendor_tests"] = (
            round(tot["baseline_kept"] / port, 4) if port else None)
    tmp = os.path.join(out, "summary.json.tmp")
    with open(tmp, "w") as f:
        json.dump(summary, f, indent=1)
    os.replace(tmp, os.path.join(out, "summary.json"))
    head = "%-34s %-11s" % ("label", "status")
    short = {"planned": "plan", "passed": "pass", "failed": "fail", "errored": "err",
             "skip_feature": "sk:feat", "skip_vendor": "sk:vend", "skip_list": "sk:list",
             "skip_other": "sk:oth", "xfail": "xfail", "notrun": "notrun"}
    head += "".join("%8s" % short[c] for c in COLS) + "%8s%8s%9s%9s" % (
        "base", "score", "wall_s", "stmts")
    text = [head, "-" * len(head)]
    for lab, r, c in rows:
        text.append(
            "%-34s %-11s" % (lab[:34], r["status"])
            + "".join("%8d" % c[k] for k in COLS)
            + "%8s%8s%9.1f%9d" % (
                r.get("baseline_pass", "-"),
                "-" if r.get("score") is None else "%.3f" % r["score"],
                r["wall_s"], r["statements"]))
    text.append("-" * len(head))
    text.append(
        "%-34s %-11s" % ("TOTAL (%d labels)" % len(rows), "")
        + "".join("%8d" % tot[k] for k in COLS)
        + "%8s%8s%9.1f%9d" % (
            tot["baseline_pass"] or "-",
            "%.3f" % summary["totals"]["score"] if "score" in summary["totals"] else "-",
            tot["wall_s"], tot["statements"]))
    if "score" in summary["totals"]:
        text.append("score %d/%d = %.4f; of those reached before a timeout: %s; without vendor-only"
                    " tests: %s; lost: %s" % (
            tot["baseline_kept"], tot["baseline_pass"], summary["totals"]["score"],
            summary["totals"]["score_of_attempted"],
            summary["totals"]["score_without_vendor_tests"],
            {k[5:]: v for k, v in tot.items() if k.startswith("lost_")}))
    for lab, r, c in rows:
        if r["setup_error"]:
            text.append("SETUP ERROR %s: %s: %s" % (
                lab, r["setup_error"]["exc"], (r["setup_error"]["msg"] or "")[:300]))
        if r.get("hung_in"):
            text.append("TIMEOUT %s while in %s" % (lab, r["hung_in"]))
    with open(os.path.join(out, "summary.txt"), "w") as f:
        f.write("\n".join(text) + "\n")
    with open(os.path.join(out, "causes.txt"), "w") as f:
        for key, items in group_causes(labels):
            f.write("%5d  %s\n" % (len(items), key))
            for kind, i, msg in items[:3]:
                f.write("         %s %s\n" % (kind, i))
            f.write("         e.g. %s\n" % (items[0][2][:240].replace("\n", " | ")))
    return "\n".join(text)
