"""Other people's applications as tenant models: `python -m tests.applications.tenants.run`."""
