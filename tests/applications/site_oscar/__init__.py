"""django-oscar: its sandbox's shop, with the sandbox's own fixtures, settings and commands."""
