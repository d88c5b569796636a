"""Flask: an extension in Flask's own shape. The application's context is around every run, `flask procession …` is the
command line, and `jobs_of(current_app)` is the app.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from flask import Flask

from procession.cli import cli
from procession.client import Procession
from procession.context import CurrentJob
from procession.errors import ConfigError
from procession.middleware import Middleware


class FlaskJobs:
    """Joins one app of ours and one of Flask's.

    Args:
        app: whose jobs.
        flask: the application, if it is there already; else call `init_app`.
    """

    def __init__(self, app: Procession, flask: Flask | None = None) -> None:
        self.app = app
        if flask is not None:
            self.init_app(flask)

    def init_app(self, flask: Flask) -> None:
        """Join them: runs are within this application from now on, and in no other that was joined before.

        Raises:
            ConfigError: this application has jobs of another app already.
        """
        if flask.extensions.get("procession", self.app) is not self.app:
            raise ConfigError("this Flask application has jobs of another app already")
        if "procession" not in flask.extensions:
            flask.extensions["procession"] = self.app
            flask.cli.add_command(cli, "procession")
            around = [it for it in self.app.registry.policies.middleware if isinstance(it, WithinContext)]
            for layer in around:  # of an application that a factory made before
                layer.flask = flask
            if not around:
                self.app.use(WithinContext(flask))


class WithinContext(Middleware):
    """The application's context around each run: `current_app`, `g`, and extensions that need them."""

    def __init__(self, flask: Flask) -> None:
        self.flask = flask

    def perform(self, job: CurrentJob) -> Generator[None, Any, Any]:
        """See `Middleware.perform`."""
        with self.flask.app_context():
            return (yield)


def jobs_of(flask: Flask) -> Procession:
    """The app that `FlaskJobs` has joined to this application, or to `current_app`. Raises ConfigError without one."""
    app = flask.extensions.get("procession")
    if not isinstance(app, Procession):
        raise ConfigError("this Flask application has no jobs: FlaskJobs(app).init_app(flask)")
    return app
