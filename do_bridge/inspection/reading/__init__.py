"""What is read from a database for the pages, without anything of the admin."""
