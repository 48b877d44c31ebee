"""What a tenant may be called."""

import pytest

from do_bridge.tenancy import InvalidSlug, alias_slug, tenant_alias, validate_slug
from do_bridge.tenancy.slugs import is_tenant_side, object_name

HOSTILE = [
    "",
    " ",
    ".",
    "..",
    "../acme",
    "..%2facme",
    "acme/../zeta",
    "acme/zeta",
    "/acme",
    "Acme",
    "ACME",
    "acme\n",
    "acme\r\n",
    "acme\x00",
    " acme",
    "acme ",
    "-acme",
    "acme-",
    "ac_me",
    "ac.me",
    "\u0430cme",
    "acm\u0435",
    "acme\u200b",
    "\uff41cme",
    "\u0661",
    "\u212aelvin",
    "a" * 64,
    "a" * 300,
    "acme'; DROP TABLE blog_post; --",
    "tenant:acme",
]


@pytest.mark.parametrize("slug", ["a", "7", "acme", "a-b", "a--b", "0-9", "a" * 63])
def test_a_valid_slug_is_returned_as_it_is(slug):
    assert validate_slug(slug) == slug
    assert tenant_alias(slug) == f"tenant/{slug}"
    assert alias_slug(f"tenant/{slug}") == slug


@pytest.mark.parametrize("slug", [*HOSTILE, None, 7, b"acme", ["acme"]])
def test_a_hostile_slug_is_refused_and_not_repeated(slug):
    with pytest.raises(InvalidSlug, match="63") as caught:
        validate_slug(slug)
    assert isinstance(caught.value, ValueError)
    if isinstance(slug, str) and len(slug) > 3:
        assert slug not in str(caught.value)


@pytest.mark.parametrize("slug", HOSTILE)
def test_no_alias_has_a_hostile_slug(slug):
    assert alias_slug(f"tenant/{slug}") is None
    assert not is_tenant_side(f"tenant/{slug}")
    assert not is_tenant_side(f"scratch/{slug}")


def test_objects_are_named_after_their_alias_and_after_the_test_run():
    assert object_name("tenant/acme") == "tenant/acme"
    assert object_name("tenant/acme", "test/run1") == "test/run1/acme"
    assert object_name("scratch/0a1b", "test/run1") == "test/run1/scratch-0a1b"
