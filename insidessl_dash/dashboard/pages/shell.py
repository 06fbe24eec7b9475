"""The document around the app: header, introduction, citation, footer, and the wrong address.

All of it is plain HTML, readable before and without the scripts; only the instrument and the
analysis in its middle are drawn by Dash.
"""

from __future__ import annotations

import html as text
from importlib.metadata import PackageNotFoundError, metadata
from string import Template

from dash import html

from insidessl_dash import __version__
from insidessl_dash.dashboard import ids, urls
from insidessl_dash.dashboard.pages.markup import markup

TITLE = "insidessl_dash: speech models, layer by layer"
DESCRIPTION = (
    "Self-supervised speech models layer by layer: entropy, curvature and invariance, computed "
    "live, on your audio too."
)
_NAVIGATION = (
    ("Dynamics", "#dynamics"),
    ("Training", "#training"),
    ("Matrix", "#gcm"),
    ("Explorer", "#explorer"),
    ("Lab", "#lab"),
    ("Analyze", "#analyze"),
    ("Models", urls.MODELS),
    ("Cite", "#cite"),
)
_MARK = (
    '<svg class="mark" viewBox="0 0 24 24" aria-hidden="true">'
    '<path d="M3 3.5h18M3 7.75h18M3 12h18M3 16.25h18M3 20.5h18"/>'
    '<path d="M3 7C8 2.5 9.5 4 12 10.5S17 20.5 21 16.5"/></svg>'
)

# boot.js sets the scheme before the first paint, so that a dark page never flashes white; it is a
# file because the content security policy allows no inline script but Dash's own.
_INDEX = """<!DOCTYPE html>
<html lang="en">
  <head>
    {%metas%}
    <meta name="color-scheme" content="light dark">
    <title>{%title%}</title>
    <link rel="icon" type="image/svg+xml" href="$icon">
    <script src="$boot"></script>
    {%css%}
  </head>
  <body>
    $header
    <main id="main" tabindex="-1">
      $introduction
      <noscript><p class="wrap noscript">The figures need JavaScript. The same results are at
      <a href="$openapi">the API</a>, and on the command line with
      <code>insidessl-dash analyze</code>.</p></noscript>
      {%app_entry%}
      $citation
    </main>
    $footer
    <div>{%config%}{%scripts%}{%renderer%}</div>
  </body>
</html>"""


def document(icon: str, boot: str, introduction: html.Section, citation: html.Section) -> str:
    """The document as Dash takes it, with Dash's own places left open.

    Args:
        icon, boot: Addresses of the icon and of the script that sets the colour scheme.
        introduction, citation: What comes before and after the app.
    """
    parts = {
        "icon": icon,
        "boot": boot,
        "openapi": urls.OPENAPI,
        "header": _header(""),
        "introduction": markup(introduction),
        "citation": markup(citation),
        "footer": markup(_footer()),
    }
    return Template(_INDEX).substitute(parts)


def plain(title: str, main: str, head: str, tail: str = "", **data: str) -> str:
    """A document of its own beside the dashboard, whole without Dash.

    Args:
        title: Of the document.
        main: HTML of what it says.
        head: HTML of its style sheets and of the script that sets the colour scheme.
        tail: HTML of its other scripts.
        **data: Attributes ``data-...`` of its body.
    """
    attributes = "".join(f' data-{k}="{text.escape(v)}"' for k, v in data.items())
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{text.escape(title)}: insidessl_dash</title>{head}</head><body{attributes}>"
        f'{_header("/")}<main id="main" tabindex="-1">{main}</main>{markup(_footer())}{tail}'
        "</body></html>"
    )


def _header(home: str) -> str:
    """Project name, places on the page, light and dark; the live region and the banner.

    Args:
        home: What leads to the dashboard: "" on it, "/" from another page.
    """
    places = ((name, home + at if at.startswith("#") else at) for name, at in _NAVIGATION)
    links = markup([html.A(name, href=href) for name, href in places])
    top = home or "#top"
    goes = "the dashboard" if home else "top of page"
    return (
        '<a class="skip" href="#main">Skip to the content</a>'
        f'<div id="{ids.ERROR}" class="banner" role="alert"></div>'
        f'<div id="{ids.ANNOUNCE}" class="sr-only" role="status" aria-live="polite"></div>'
        '<header class="site-header" id="top"><div class="wrap bar">'
        f'<a class="brand" href="{top}" aria-label="insidessl_dash, {goes}">{_MARK}'
        '<span class="brand-name">InsideSSL</span><span class="brand-kind">dash</span></a>'
        f'<nav aria-label="Sections">{links}</nav>'
        f'<button type="button" id="{ids.SCHEME}" class="scheme-toggle" '
        'aria-label="Dark colour scheme" aria-pressed="false"><span class="half-disk"></span>'
        "</button></div></header>"
    )


def _footer() -> html.Footer:
    """What runs here, under which licence, and where its code and API are."""
    code = code_url()
    links = [
        html.A("Model cards", href=urls.MODELS),
        html.A("API and its OpenAPI document", href=urls.OPENAPI),
    ]
    if code:
        links.insert(0, html.A("Code", href=code))
    promise = (
        f"insidessl_dash {__version__}, Apache-2.0. Everything on this page is served from this "
        "machine; nothing is fetched from elsewhere, and uploads are seen by nobody but you."
    )
    return html.Footer(
        html.Div([html.P(promise), html.P(links, className="footer-links")], className="wrap"),
        className="site-footer",
    )


def code_url() -> str:
    """Where the package says its source is; "" where it does not say."""
    try:
        places = metadata("insidessl-dash").get_all("Project-URL") or []
    except PackageNotFoundError:
        return ""
    named = dict(place.split(", ", 1) for place in places if ", " in place)
    return next((named[k] for k in ("Source", "Repository", "Homepage") if k in named), "")


def not_found(path: str, style_sheets: str) -> str:
    """The page for an address that is nothing here, without scripts.

    Args:
        path: As asked for; escaped here.
        style_sheets: HTML of the page's style sheets.
    """
    shown = text.escape(path if len(path) <= 80 else path[:79] + "…")
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>Not found: insidessl_dash</title>{style_sheets}</head>"
        '<body><main class="wrap not-found"><p class="section-number">404</p>'
        f"<h1>There is no layer here</h1><p class=\"lead\">Nothing lives at <code>{shown}</code>. "
        'Everything is on one page, and its state is in the address after the question mark.</p>'
        '<p><a class="button" href="/">Open the dashboard</a></p></main></body></html>'
    )  # fmt: skip
