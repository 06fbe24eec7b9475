"""Components as HTML text.

Dash tells every component of every change, so a page of a thousand table cells answers slowly. What
nobody has to address one by one is handed over as text instead, and assets/js/1-page.js puts it in
its place. Everything is escaped here, and only here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from dash.development.base_component import Component

_NAMES = {"className": "class", "htmlFor": "for"}
_VOID = {"img", "br", "hr", "input", "link", "meta"}


def markup(content: Any) -> str:
    """HTML of a component, a text, or a list of them.

    Raises:
        TypeError: A component that is not plain HTML.

    >>> from dash import html
    >>> markup(html.P(["a < b", html.Br()], className="x", hidden=True))
    '<p class="x" hidden>a &lt; b<br></p>'
    """
    if content is None:
        return ""
    if isinstance(content, Component):
        return _element(content.to_plotly_json())
    if isinstance(content, str | int | float):
        return escape(str(content))
    if isinstance(content, Iterable):
        return "".join(markup(part) for part in content)
    raise TypeError(f"cannot write {type(content).__name__} as HTML")


def _element(component: Mapping[str, Any]) -> str:
    if component["namespace"] != "dash_html_components":
        raise TypeError(f"{component['type']} is not plain HTML")
    tag = component["type"].lower()
    props = dict(component["props"])
    children = props.pop("children", None)
    head = "".join([f"<{tag}", *(_attribute(*item) for item in sorted(props.items())), ">"])
    return head if tag in _VOID else f"{head}{markup(children)}</{tag}>"


def _attribute(name: str, value: Any) -> str:
    name = _NAMES.get(name, name).lower()
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
