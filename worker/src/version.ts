// What a relay reports of itself, so that `manage.py relay status` can compare it with the installed package.

/** The version of the Python package that this code belongs to: do_bridge/version.py. */
export const PACKAGE_VERSION = "0.1.0";

/** The version of the session protocol, as in its subprotocol. */
export const PROTOCOL = 1;
