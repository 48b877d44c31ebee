"""The subcommands of `manage.py relay` that need no Django, one module each.

Each has ``help``, ``add_arguments(parser)`` and ``handle(command, **options)``, which raises RelayError.
"""
