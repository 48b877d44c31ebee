"""Attacks on the promises: processes killed, connections cut and stalled, clients that stop."""
