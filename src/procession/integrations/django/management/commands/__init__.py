"""`manage.py procession`."""
