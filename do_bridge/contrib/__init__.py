"""Optional parts: cache keys, file storage, logging and messages."""
