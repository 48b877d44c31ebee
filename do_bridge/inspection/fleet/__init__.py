"""Pages about all databases: the list, actions, and what concerns many of them."""
