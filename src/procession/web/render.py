"""From values to HTML: pages and their live rows from the same macros, everything escaped.

One renderer per dashboard. A row is drawn by one macro, whether it comes with the page or over the socket.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import jinja2
from markupsafe import Markup
from msgspec import Struct

from procession.job import State
from procession.web.access import Access, Role
from procession.web.assets import version
from procession.web.shown import FILTERS
from procession.web.views import View

Rows = dict[str, str]
"""The rows of a region: element id → HTML, in order."""


class Page(Struct, frozen=True, kw_only=True):
    """What a template knows besides its value: where the dashboard is mounted, and who looks."""

    view: str
    base: str
    access: Access
    params: Mapping[str, str] = {}
    still: bool = False
    """It is not kept up to date."""
    theme: str = ""
    done: str = ""
    """What an action just did, in words."""

    def may(self, role: str) -> bool:
        """True when whoever looks has at least this role."""
        return self.access.may(Role[role.upper()])

    def to(self, path: str, **query: Any) -> str:
        """An address of this dashboard; parameters that are empty are left out."""
        words = urlencode({name: str(value) for name, value in query.items() if value not in ("", None)})
        return f"{self.base}{path}{'?' if words else ''}{words}"

    @property
    def here(self) -> str:
        """The address of this very page."""
        if self.view == "job":
            return self.to(f"/jobs/{self.params['jid']}")
        if self.view == "worker":
            return self.to(f"/workers/{quote(self.params.get('worker', ''))}")
        return self.to("/" if self.view == "overview" else f"/{self.view}", **self.params)

    @property
    def twin(self) -> str:
        """The address of the same value as JSON."""
        path, mark, query = self.here.partition("?")
        return f"{path}overview.json{mark}{query}" if self.view == "overview" else f"{path}.json{mark}{query}"

    @property
    def live(self) -> str:
        """The address where its live updates come from; "" where there are none."""
        return "" if self.still or self.view == "problem" else self.to("/live", view=self.view, **self.params)


class Renderer:
    """Draws; see above. `title` stands beside the name on every page."""

    def __init__(self, title: str) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.PackageLoader("procession.web"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(FILTERS)
        self._environment.globals.update(title=title, version=version(), State=State)
        self._rows = self._environment.get_template("rows.html").module

    def regions(self, view: View, model: Any, page: Page) -> dict[str, Rows]:
        """Every region of a view: its rows by element id."""
        found: dict[str, Rows] = {}
        for region, macro, attribute in view.regions:
            draw = getattr(self._rows, macro)
            items = getattr(model, attribute)
            found[region] = {f"{region}-{item.key}": str(draw(item, f"{region}-{item.key}", page)) for item in items}
        return found

    def page(self, view: View, model: Any, page: Page) -> str:
        """A whole page."""
        regions = {
            region: Markup("".join(rows.values()))  # made by our macros just now, escaped there
            for region, rows in self.regions(view, model, page).items()
        }
        return self._environment.get_template(f"{view.name}.html").render(model=model, page=page, regions=regions)

    def problem(self, says: str, page: Page) -> str:
        """The page that says what went wrong."""
        return self._environment.get_template("problem.html").render(says=says, page=page)
