"""One table."""

from django.db import models


class Order(models.Model):
    """An order, and what was done about it."""

    item = models.CharField(max_length=50)
    paid = models.BooleanField(default=False)
