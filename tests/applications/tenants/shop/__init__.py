"""What a project adds to django-oscar for a shop of each tenant."""
