"""System checks of this site's own settings; do_bridge's are its own."""

from django.conf import settings
from django.core.checks import Tags, Warning, register

from do_bridge.checks.safety import is_weak


@register(Tags.security, deploy=True)
def check_migrate_token(app_configs=None, **kwargs):
    """Warn of a MIGRATE_TOKEN that can be guessed, or that opens something else, too."""
    token = settings.MIGRATE_TOKEN
    if not token:
        return []
    found = []
    if is_weak(token):
        found.append(
            Warning(
                "MIGRATE_TOKEN is short or has few different characters, so it can be guessed. It "
                "opens POST /api/migrate.",
                hint="Make one with: python -c 'import secrets; print(secrets.token_urlsafe(48))'",
                id="project.W001",
            )
        )
    others = {values.get("PASSWORD") for values in dict.values(settings.DATABASES)}
    if token in {settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS, *others}:
        found.append(
            Warning(
                "MIGRATE_TOKEN is also Django's SECRET_KEY or a database's token.",
                hint="Give each a value of its own: a pipeline that may migrate must not be able to "
                "read every row.",
                id="project.W002",
            )
        )
    return found
