"""The URLs of the pages about all databases: (pattern, name of the view, name)."""

ROUTES = (
    ("databases/", "views.database_list", "databases"),
    ("databases/action/", "views.action", "databases_action"),
    ("databases/jobs/<int:key>/", "job_views.job", "databases_job"),
    ("databases/jobs/<int:key>/state.json", "job_views.job_json", "databases_job_state"),
    ("databases/<inspected:database>/facts.json", "views.facts_json", "database_facts"),
)
