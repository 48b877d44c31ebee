"""Tests of the driver, without Django, on the local Worker."""
