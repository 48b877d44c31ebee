"""Template filters of the inspection."""
