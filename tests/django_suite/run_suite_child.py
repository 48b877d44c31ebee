"""The process of one label: Django's own runtests.py with a TestResult that records each outcome."""
import json
import os
import re
import signal
import sys
import threading
import time

FEATURE_PREFIXES = (
    "Database doesn't support feature(s):",
    "Database doesn't support any of the feature(s):",
    "Database has feature(s)",
)
VENDOR_RE = re.compile(
    r"\b(sqlite|postgres(ql)?|mysql|mariadb|oracle|psycopg\d?)\b", re.I
)


def child_main(args):
    sys.path.insert(0, args.tests_dir)
    sys.path[:0] = [p for p in args.pythonpath if p]
    os.chdir(args.tests_dir)
    os.environ["DJANGO_SETTINGS_MODULE"] = args.settings

    events = open(args.events, "w", buffering=1)
    lock = threading.Lock()
    main_pid = os.getpid()

    def emit(**kw):
        if os.getpid() != main_pid:  # a forked grandchild must not write
            return
        with lock:
            events.write(json.dumps(kw, default=str) + "\n")

    import unittest

    from django.db import connections
    from django.db.backends import utils as dbutils
    from django.test import runner as django_runner

    counts = {"statements": 0, "db_s": 0.0}

    # Count statements at the lowest layer that every backend passes through.
    for name in ("_execute", "_executemany"):
        orig = getattr(dbutils.CursorWrapper, name)

        def wrapper(self, *a, __orig=orig, **kw):
            t = time.perf_counter()
            counts["statements"] += 1
            try:
                return __orig(self, *a, **kw)
            finally:
                counts["db_s"] += time.perf_counter() - t

        setattr(dbutils.CursorWrapper, name, wrapper)

    def skip_kind(reason):
        if reason.startswith(FEATURE_PREFIXES):
            return "feature"
        for conn in connections.all():
            if reason in getattr(conn.features, "django_test_skips", {}):
                return "backend_skiplist"
        if VENDOR_RE.search(reason):
            return "vendor"
        return "other"

    class TestTimeout(Exception):  # Django catches Exception around fixtures
        pass

    def on_alarm(signum, frame):
        raise TestTimeout("per-test timeout of %gs" % args.test_timeout)

    if args.test_timeout:
        signal.signal(signal.SIGALRM, on_alarm)

    def describe(err):
        etype, value, tb = err
        try:
            msg = str(value)
        except Exception as e:  # pragma: no cover
            msg = "<str() failed: %r>" % e
        where = ""
        while tb is not None:
            f = tb.tb_frame.f_code.co_filename
            where = "%s:%d" % (f, tb.tb_lineno)
            tb = tb.tb_next
        d = {
            "exc": "%s.%s" % (etype.__module__, etype.__qualname__)
            if etype.__module__ != "builtins"
            else etype.__qualname__,
            "msg": msg[:600],
            "where": where,
        }
        root, seen = value, set()
        while id(root) not in seen:
            seen.add(id(root))
            nxt = root.__cause__ or (
                None if root.__suppress_context__ else root.__context__)
            if nxt is None:
                break
            root = nxt
        if root is not value:
            d["root"] = ("%s: %s" % (type(root).__name__, root))[:400]
        return d

    class Recorder:
        """Mixed into whatever result class the runner would have used."""

        # Python 3.12.1 stops a test of a skipped class that it has not started.
        _dj_t0 = _dj_s0 = 0

        def startTest(self, test):
            self._dj_t0 = time.perf_counter()
            self._dj_s0 = counts["statements"]
            emit(e="start", id=test.id())
            if args.test_timeout:
                signal.setitimer(signal.ITIMER_REAL, args.test_timeout)
            super().startTest(test)

        def stopTest(self, test):
            if args.test_timeout:
                signal.setitimer(signal.ITIMER_REAL, 0)
            super().stopTest(test)
            emit(
                e="stop",
                id=test.id(),
                s=round(time.perf_counter() - self._dj_t0, 4),
                n=counts["statements"] - self._dj_s0,
                c=counts["statements"],
                d=round(counts["db_s"], 3),
            )

        def addSuccess(self, test):
            emit(e="ok", id=test.id())
            super().addSuccess(test)

        def addError(self, test, err):
            emit(e="error", id=test.id(), **describe(err))
            super().addError(test, err)

        def addFailure(self, test, err):
            emit(e="fail", id=test.id(), **describe(err))
            super().addFailure(test, err)

        def addSkip(self, test, reason):
            reason = str(reason)
            parent = getattr(test, "test_case", None)  # a _SubTest
            if parent is not None:
                emit(e="subskip", id=parent.id(), kind=skip_kind(reason), reason=reason)
            else:
                emit(e="skip", id=test.id(), kind=skip_kind(reason), reason=reason)
            super().addSkip(test, reason)

        def addExpectedFailure(self, test, err):
            emit(e="xfail", id=test.id(), **describe(err))
            super().addExpectedFailure(test, err)

        def addUnexpectedSuccess(self, test):
            emit(e="uxsuccess", id=test.id())
            super().addUnexpectedSuccess(test)

        def addSubTest(self, test, subtest, err):
            if err is not None:
                kind = "fail" if issubclass(err[0], test.failureException) else "error"
                emit(e=kind, id=test.id(), sub=str(subtest.params), **describe(err))
            super().addSubTest(test, subtest, err)

    D = django_runner.DiscoverRunner
    orig_get_resultclass = D.get_resultclass
    orig_run_suite = D.run_suite
    orig_setup_databases = D.setup_databases

    def get_resultclass(self):
        base = orig_get_resultclass(self) or unittest.TextTestResult
        return type("Recording" + base.__name__, (Recorder, base), {})

    def flatten(suite):
        for t in suite:
            if hasattr(t, "__iter__"):
                yield from flatten(t)
            else:
                yield t

    def run_suite(self, suite, **kw):
        feats = {}
        for alias in connections:
            c = connections[alias]
            feats[alias] = {
                "engine": c.settings_dict["ENGINE"],
                "vendor": c.vendor,
                "display_name": c.display_name,
                "supports_transactions": c.features.supports_transactions,
                "uses_savepoints": c.features.uses_savepoints,
            }
        emit(
            e="plan",
            ids=[t.id() for t in flatten(suite)],
            databases=feats,
            create_s=round(time.perf_counter() - t_start, 3),
            create_n=counts["statements"],
        )
        return orig_run_suite(self, suite, **kw)

    t_start = time.perf_counter()

    def setup_databases(self, **kw):
        nonlocal t_start
        t_start = time.perf_counter()
        try:
            return orig_setup_databases(self, **kw)
        except BaseException:
            emit(e="setup_error", stage="setup_databases", **describe(sys.exc_info()))
            raise

    D.get_resultclass = get_resultclass
    D.run_suite = run_suite
    D.setup_databases = setup_databases

    if args.heal:
        # Without transactions TestCase falls back to a flush after each test, but
        # Django does not flush when the set-up itself fails (setUpTestData, fixtures):
        # its rows then break every later test of the label.  Flush there too, so that
        # each test is measured by itself.
        from django.test import SimpleTestCase, TestCase, TransactionTestCase

        failed_setup = []
        orig_pre = TransactionTestCase.__dict__["_pre_setup"]
        orig_sac = SimpleTestCase._setup_and_call

        def guarded(call, *a):
            try:
                return call(*a)
            except Exception:
                failed_setup.append(1)
                raise

        if isinstance(orig_pre, classmethod):  # Django 5.2
            TransactionTestCase._pre_setup = classmethod(
                lambda cls: guarded(orig_pre.__func__, cls))
        else:
            TransactionTestCase._pre_setup = lambda self: guarded(orig_pre, self)

        def _setup_and_call(self, result, *a, **kw):
            failed_setup.clear()
            orig_sac(self, result, *a, **kw)
            if not failed_setup or not isinstance(self, TransactionTestCase):
                return
            if isinstance(self, TestCase) and self._databases_support_transactions():
                return  # its atomics are rolled back
            for alias in self.databases:
                if alias in connections:
                    connections[alias].needs_rollback = False
            try:
                self._fixture_teardown()
                emit(e="heal", id=self.id())
            except Exception:
                emit(e="heal_failed", id=self.id(), **describe(sys.exc_info()))

        SimpleTestCase._setup_and_call = _setup_and_call

    runtests = os.path.join(args.tests_dir, "runtests.py")
    sys.argv = [
        runtests, "--noinput", "--parallel=1", "--settings", args.settings,
        "-v", str(args.verbosity), *args.runtests_arg, args.label,
    ]
    import runpy

    code = 0
    try:
        runpy.run_path(runtests, run_name="__main__")
    except SystemExit as e:
        code = e.code if isinstance(e.code, int) else (0 if e.code is None else 1)
    except BaseException:
        emit(e="crash", **describe(sys.exc_info()))
        emit(e="end", **counts)
        raise
    emit(e="end", code=code, **counts)
    sys.exit(code)
