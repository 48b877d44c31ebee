"""Django's own tests on two D1 databases, over the relay."""

from settings_common import *  # noqa: F403
from settings_common import ALIASES, RELAY_TOKEN, RELAY_URL, SLOT

# The ids in worker/wrangler.jsonc: 0 is the site's own, 1 to 8 are for tests; two for each slot.
DATABASE_ID = "d0b41d9e-0000-4000-8000-00000000000{}"

DATABASES = {
    alias: {
        "ENGINE": "do_bridge.backends.d1",
        "NAME": DATABASE_ID.format(0),
        "HOST": RELAY_URL,
        "PASSWORD": RELAY_TOKEN,
        "OPTIONS": {"transport": "relay"},
        "TEST": {"NAME": DATABASE_ID.format(1 + 2 * SLOT + number)},
    }
    for number, alias in enumerate(ALIASES)
}
