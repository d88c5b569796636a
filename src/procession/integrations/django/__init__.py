"""Django's own task interface (`django.tasks`, or the `django-tasks` package before Django 6.0) over Procession.

`TASKS = {"default": {"BACKEND": "procession.integrations.django.ProcessionBackend"}}`, and this package among
`INSTALLED_APPS` for `manage.py procession`. Everything else of Django stays as it is. See docs/django.md.
"""

from procession.integrations.django.backend import ProcessionBackend, ProcessionTask

__all__ = ["ProcessionBackend", "ProcessionTask"]
