"""A project with the packages that do_bridge.contrib integrates, and the tests of each."""
