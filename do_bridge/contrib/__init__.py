"""Optional parts for a project's settings: cache keys, file storage, logging and messages."""
