"""An application as other projects have one, written by Django's documentation and not by ours."""
