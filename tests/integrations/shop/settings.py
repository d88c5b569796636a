"""A Django project as small as it can be: a database in a file, one model, and tasks that Procession performs."""

import os
from pathlib import Path

import django

HOME = Path(os.environ["SHOP_HOME"])
SECRET_KEY = "not one"
USE_TZ = True
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": HOME / "shop.sqlite", "CONN_MAX_AGE": 0}}
INSTALLED_APPS = ["tests.integrations.shop", "procession.integrations.django"]
if django.VERSION < (6,):
    INSTALLED_APPS.append("django_tasks")
TASKS = {
    "default": {
        "BACKEND": "procession.integrations.django.ProcessionBackend",
        "QUEUES": ["default", "mail"],
        "OPTIONS": {"url": os.environ["SHOP_URL"], "namespace": os.environ["SHOP_NAMESPACE"], "retry": False},
    }
}
