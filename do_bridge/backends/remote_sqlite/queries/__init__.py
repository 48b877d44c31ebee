"""Queries that the runtime's limits would refuse or make slow: chunks, wide rows, bulk writes."""
