"""The installed app: it has no models, and brings the command `manage.py procession`."""

from django.apps import AppConfig


class ProcessionConfig(AppConfig):
    """See above."""

    name = "procession.integrations.django"
    label = "procession"
    verbose_name = "Procession"
