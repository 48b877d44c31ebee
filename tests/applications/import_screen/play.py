"""Runs in the screen's own environment: previews a file of so many rows and prints what came of it."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Migrate, upload a file by HTTP, print what came of it as JSON."""
    rows = int(sys.argv[1])
    sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent.parent)]
    os.environ["DJANGO_SETTINGS_MODULE"] = "import_screen.settings"
    import django

    django.setup()
    from django.contrib.auth import get_user_model
    from django.core.management import call_command
    from django.test import Client
    from import_screen.admin import DONE
    from import_screen.models import Post

    from do_bridge.driver import count_trips

    call_command("migrate", run_syncdb=True, verbosity=0, interactive=False)
    user, _ = get_user_model().objects.get_or_create(username="root", is_staff=True, is_superuser=True)
    client = Client(raise_request_exception=False)
    client.force_login(user)
    keys = range(1, rows + 1) if os.environ["IMPORT_RESOURCE"] == "again" else [""] * rows
    post = {"title": "old", "content": "old", "created": "2026-03-01"}
    Post.objects.bulk_create([Post(pk=key, **post) for key in keys if key], ignore_conflicts=True)
    lines = ["id,title,content,created", *(f"{key},a post,{'x' * 200},2026-03-02" for key in keys)]
    file = io.BytesIO("\n".join(lines).encode())
    file.name = "posts.csv"
    started = time.monotonic()
    with count_trips() as trips:
        answer = client.post("/admin/import_screen/post/import/", {"format": "0", "import_file": file})
    seconds = round(time.monotonic() - started, 1)
    previewed = answer.status_code == 200 and b"confirm" in answer.content.lower()
    result = {"rows": len(DONE), "trips": trips.count, "seconds": seconds, "previewed": previewed}
    sys.stdout.write(json.dumps(result | {"status": answer.status_code}) + "\n")


if __name__ == "__main__":
    main()
