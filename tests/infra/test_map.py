"""docs/reference/tests.md has the tests of every module."""

from tests import map as test_map

PACKAGE, TESTS = test_map.ROOT / "do_bridge", test_map.ROOT / "tests"


def test_every_module_has_tests_and_every_line_is_of_files_that_are_there():
    modules = [
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if "migrations" not in path.parts and path.read_text().strip()
    ]
    assert [module for module in modules if not test_map.tests_of(module)] == []
    named = {test for _, tests in test_map.lines() for test in tests}
    assert [test for test in named if not (TESTS / test).is_file()] == []
    patterns = [pattern for patterns, _ in test_map.lines() for pattern in patterns]
    assert [pattern for pattern in patterns if not list(PACKAGE.glob(pattern))] == []
