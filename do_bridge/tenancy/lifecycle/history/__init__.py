"""A tenant's history: bookmarks of its object, and the way back to one."""
