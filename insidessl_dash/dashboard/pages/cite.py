"""How to cite, where the code is, and who owns what."""

from __future__ import annotations

from dash import html

from insidessl_dash.dashboard import urls
from insidessl_dash.dashboard.pages.parts import section
from insidessl_dash.dashboard.pages.shell import code_url

BIBTEX = """@inproceedings{sadok2026insidessl,
  title     = {{InsideSSL}: Understanding Self-Supervised Speech Representations
               using a Model-Centric Perspective},
  author    = {Sadok, Samir and Alameda-Pineda, Xavier},
  booktitle = {Proc. Interspeech 2026},
  year      = {2026},
  doi       = {10.21437/Interspeech.2026-733},
  note      = {arXiv:2607.06392}
}"""
_LICENCES = (
    ("This software", "Apache-2.0; so are HuBERT Nano's weights, trained by this project."),
    ("Pretrained models", "Each under its own licence, named in the provenance of its curve and by "
     "insidessl-dash models show NAME. None of their weights are served here."),
    ("Corpora", "speechocean762 and LibriSpeech: CC BY 4.0. The demo corpus was "
     "synthesised for this project, and its manifest names each voice and licence."),
    ("plotly.js, Dash, Mantine", "MIT; the texts are in assets/LICENSES.md."),
)  # fmt: skip


def cite() -> html.Section:
    """The last section."""
    code = code_url()
    where = [
        html.A(code, href=code)
        if code
        else "the Python package insidessl-dash that serves this page"
    ]
    entries: list[html.Dt | html.Dd] = []
    for name, text in _LICENCES:
        entries += [html.Dt(name), html.Dd(text)]
    entry = html.Div(
        [
            html.Pre(
                html.Code(BIBTEX),
                className="bibtex",
                id="bibtex",
                tabIndex=0,
                **{"aria-label": "BibTeX entry"},
            ),
            html.Button("Copy BibTeX", className="button", **{"data-copy-from": "bibtex"}),
        ],
        className="cite-main",
    )
    api = [
        "The code is ",
        *where,
        ". Everything the page shows is also at ",
        html.A("/api/v1", href=urls.OPENAPI),
        ", in a notebook (",
        html.Code("from insidessl_dash import analyze"),
        ") and on the command line. The paper's own code is at ",
        html.A("inside-ssl.github.io", href=urls.PROJECT),
        ".",
    ]
    side = html.Div(
        [
            html.H3("Code and API", className="small-head"),
            html.P(api),
            html.H3("Licences", className="small-head"),
            html.Dl(entries),
        ],
        className="cite-side",
    )
    return section(
        "cite",
        "6",
        "Cite",
        "If a figure here helps your work, cite the paper whose method it is.",
        [html.Div([entry, side], className="cite-grid")],
    )
