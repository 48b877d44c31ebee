"""The subcommands of `manage.py relay`, one module each."""
