"""Optional parts, each used by naming it in a setting: cache keys, file storage, logging, messages."""
