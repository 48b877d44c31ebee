"""Django's own tests on two Durable Objects."""

from settings_common import *  # noqa: F403
from settings_common import ALIASES, RELAY_TOKEN, RELAY_URL, SLOT

DATABASES = {
    alias: {
        "ENGINE": "do_bridge.backends.durable_object",
        "NAME": f"suite-{SLOT}-{alias}",
        "HOST": RELAY_URL,
        "PASSWORD": RELAY_TOKEN,
        # The runtime ends every transaction after 30 s, and a TestCase holds one for its whole class.
        # A busy machine may take longer over a test than the default allows.
        "OPTIONS": {"lease": 25},
        "TEST": {"TRANSACTIONS": False},
    }
    for alias in ALIASES
}
