"""The description of the API: as OpenAPI for programs, and as a page for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Response, jsonify, render_template_string

if TYPE_CHECKING:
    from flask_openapi3 import OpenAPI

DOCUMENT = "/api/v1/openapi.json"

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ spec.info.title }}</title>
<style>
:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem }
h2 { font-size: 1rem; margin: 2rem 0 0 } code, h2 { font-family: ui-monospace, monospace }
p, ul { margin: .25rem 0 } li { margin: 0 }
</style></head><body>
<h1>{{ spec.info.title }}</h1>
<p>{{ spec.info.description }}</p>
<p>For programs: <a href="{{ document }}">{{ document }}</a> (OpenAPI {{ spec.openapi }}).</p>
{% for path, operations in spec.paths.items() %}{% for method, operation in operations.items() %}
<h2>{{ method.upper() }} {{ path }}</h2>
<p>{{ operation.summary }} {{ (operation.description or "").replace("<br/>", " ") }}</p>
{% if operation.parameters %}<ul>{% for parameter in operation.parameters %}
<li><code>{{ parameter.name }}</code> ({{ parameter["in"] }}) {{ parameter.description }}</li>
{% endfor %}</ul>{% endif %}
{% if operation.requestBody %}<p>Takes
{% for kind in operation.requestBody.content %}<code>{{ kind }}</code>{% endfor %}.</p>{% endif %}
<p>Answers {{ operation.responses.keys() | join(", ") }}.</p>
{% endfor %}{% endfor %}
</body></html>
"""


def register_docs(server: OpenAPI) -> None:
    """Serve the document and the page; both come from the routes themselves, and from here."""

    @server.route(DOCUMENT)
    def openapi_document() -> Response:
        return jsonify(server.api_doc)

    @server.route("/openapi", strict_slashes=False)
    def openapi_page() -> str:
        return render_template_string(_PAGE, spec=server.api_doc, document=DOCUMENT)
