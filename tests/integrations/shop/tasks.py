"""Tasks of every kind, as a Django application writes them."""

from asgiref.sync import sync_to_async
from django.db import connections

try:
    from django.tasks import TaskContext, task
except ImportError:
    from django_tasks import TaskContext, task

from procession import Retry, constant
from tests.integrations.shop.models import Order


@task()
def echo(*args, **kwargs):
    return {"args": args, "kwargs": kwargs}


@task
async def echo_async(*args, **kwargs):
    return [*args]


@task(queue_name="mail", priority=7)
def urgent():
    return "sent"


@task()
def fails():
    raise ValueError(ValueError("no stock"))


@task()
def leaves():
    raise SystemExit("enough")


@task(retry=Retry(attempts=2, backoff=constant(0.01)), timeout="5s", tags=("often",))
def fails_at_first(marks):
    Order.objects.create(item=marks)
    if Order.objects.filter(item=marks).count() < 2:
        raise OSError("not yet")
    return "at last"


@task()
def returns_what_json_cannot_hold():
    return lambda: True


@task(takes_context=True)
def context(context: TaskContext, attempt):
    assert context.attempt == attempt
    return context.task_result.id


@task(enqueue_on_commit=False)
def at_once():
    return "at once"


@task()
def pay(number):
    order = Order.objects.get(pk=number)
    order.paid = True
    order.save()
    return id(connections["default"].connection) > 0


@task()
async def pay_async(number):
    await Order.objects.filter(pk=number).aupdate(paid=True)
    return await sync_to_async(lambda: connections["default"].connection is not None)()
