"""Django's database functions in SQL that the runtime has."""
