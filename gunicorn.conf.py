"""Configures gunicorn for the site; command-line options and GUNICORN_CMD_ARGS override these values.

gunicorn needs a buffering proxy in front of it: one slow client occupies a whole thread here.
docs/howto/host-django.md shows one.
"""

import os

wsgi_app = "project.wsgi:application"
bind = f"0.0.0.0:{os.environ.get('PORT', '8000')}"

# Threads, because a request mostly waits for a database. WEB_CONCURRENCY sets the number of processes.
worker_class = "gthread"
threads = 8
# Many systems allow a process 1024 open files, and relay sessions need some of them.
worker_connections = 800
# Each process opens its own relay sessions, after the fork.
preload_app = False

# Seconds without a heartbeat after which a process is killed; a slow request does not stop the heartbeat.
timeout = 60
# Seconds for running requests after SIGTERM: longer than a statement (30) and the longest lease (25).
graceful_timeout = 40
keepalive = 5

# Processes are replaced from time to time, each at another moment.
max_requests = 20_000
max_requests_jitter = 2_000

# The heartbeat's file stays in memory, so that a slow disk does not look like a dead process.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108, PTH112
control_socket_disable = True
limit_request_line = 8190
limit_request_fields = 100


def worker_exit(server, worker):
    """Write what the process counted, while it can still open a session."""
    from do_bridge.inspection.usage.writing import writer

    writer.at_exit()
