"""SQLite files and databases of the engines: what a schema holds, whether a file fits, and how it is sent."""
