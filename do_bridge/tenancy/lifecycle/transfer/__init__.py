"""A tenant's whole content on its way: dumps, loads and moves."""
