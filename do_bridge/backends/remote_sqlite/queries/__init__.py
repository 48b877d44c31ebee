"""Run queries that the runtime's limits would refuse or make slow.

These are chunked fetches, wide rows and bulk writes.
"""
