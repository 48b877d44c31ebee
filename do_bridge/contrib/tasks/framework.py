"""Django's task framework, from `django.tasks` or django-tasks.

The package django-tasks is for Django 5.2.
"""

from importlib import import_module

from do_bridge.django_compat import TASKS, TASKS_JSON

_base = import_module(f"{TASKS}.base")
_signals = import_module(f"{TASKS}.signals")

task_backends = import_module(TASKS).task_backends
BaseTaskBackend = import_module(f"{TASKS}.backends.base").BaseTaskBackend
TaskResultDoesNotExist = import_module(f"{TASKS}.exceptions").TaskResultDoesNotExist
task = _base.task
Task, TaskContext, TaskError = _base.Task, _base.TaskContext, _base.TaskError
TaskResult, TaskResultStatus = _base.TaskResult, _base.TaskResultStatus
task_enqueued, task_started, task_finished = (
    _signals.task_enqueued,
    _signals.task_started,
    _signals.task_finished,
)
normalize_json = import_module(TASKS_JSON).normalize_json
