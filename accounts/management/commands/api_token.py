"""The command api_token: make, list and revoke bearer tokens for programs."""

from django.core.management.base import BaseCommand, CommandError

from accounts import tokens
from accounts.models import ApiToken, User


class Command(BaseCommand):
    """Write a new token to standard output alone, so that a script can keep it."""

    help = "Makes, lists and revokes bearer tokens for the HTTP API."

    def add_arguments(self, parser):
        parts = parser.add_subparsers(dest="part", required=True)
        create = parts.add_parser("create", help="Make a token and print it; it is not shown again.")
        create.add_argument("username", help="The user as whom the program acts.")
        create.add_argument("--name", default="command line", help="What the token is for.")
        parts.add_parser("list", help="List the tokens, without their texts.")
        revoke = parts.add_parser("revoke", help="Revoke a token.")
        revoke.add_argument("token", type=int, help="The number that `manage.py api_token list` shows.")

    def handle(self, *, part, **options):
        getattr(self, f"_{part}")(options)

    def _create(self, options):
        user = User.objects.filter(username=options["username"]).first()
        if user is None:
            raise CommandError(f"User {options['username']!r} does not exist. Check the name.")
        row, text = tokens.create(user, options["name"][:100])
        self.stderr.write(f"Token {row.pk} acts as {user.username}. It is not shown again.")
        self.stdout.write(text)

    def _list(self, options):
        for row in ApiToken.objects.select_related("user"):
            state = f"revoked {row.revoked:%Y-%m-%d}" if row.revoked else "valid"
            self.stdout.write(f"{row.pk}  {row.beginning}…  {row.user.username}  {state}  {row.name}")

    def _revoke(self, options):
        found = ApiToken.objects.filter(pk=options["token"])
        if not found.exists():
            raise CommandError(
                f"Token {options['token']} does not exist. `manage.py api_token list` shows all."
            )
        tokens.revoke(found)
        self.stdout.write(f"Token {options['token']} is revoked.")
