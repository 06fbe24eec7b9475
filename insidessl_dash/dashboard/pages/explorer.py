"""The audio explorer: hear every cell; assets/js/6-explorer.js builds it once it is near."""

from __future__ import annotations

from dash import html

from insidessl_dash.dashboard import ids
from insidessl_dash.dashboard.pages.parts import section
from insidessl_dash.results.explorer import Example

_LEAD = (
    "The numbers above, as sound. Choose a voice and a cell: decoder i speaks from the tokens of "
    "layer j. Keep the original, the vocoder alone or another cell at hand and switch between "
    "them in mid-word."
)


_OWN = (
    "Hear every layer of your own voice: it is decoded row by row, and each cell plays as soon as "
    "it is there."
)


def explorer() -> html.Section:
    """The section; the script fills it."""
    return section(
        "explorer",
        "4",
        "Audio explorer",
        _LEAD,
        [
            html.Div(
                [
                    html.H3("Your own audio", className="small-head"),
                    html.P(_OWN, className="field-note own-lead"),
                ],
                id=ids.OWN_MATRIX,
                className="own-matrix",
                role="group",
                **{"aria-label": "Your own audio"},
            ),
            html.Div(id=ids.EXPLORER, className="explorer"),
        ],
    )


def page(
    example: Example, model: str, name: str, cell: tuple[int, int] | None, place: str
) -> html.Section:
    """An example as a page of its own, at one of its cells.

    Args:
        example: What is heard.
        model, name: As links name it.
        cell: Decoder and token layer, by place; None for none yet.
        place: Where the API has it.
    """
    chosen = {} if cell is None else {"data-i": str(cell[0]), "data-j": str(cell[1])}
    root = html.Div(
        id=ids.EXPLORER,
        className="explorer",
        **{"data-url": place, "data-page": "own", **chosen},
    )
    return html.Section(
        [
            html.P(html.A("Generative Compatibility Matrix", href="/#gcm"), className="breadcrumb"),
            html.H1(f"{example.model.title}: every layer, by every decoder"),
            html.P(_spoken(example), className="lead"),
            root,
            html.Noscript(html.P(_no_script(place, cell))),
        ],
        id="explorer",
        className="wrap explorer-page",
        **{"aria-label": "Audio explorer"},
    )


def unknown(why: str) -> html.Section:
    """For an address that names no example, or no cell of one."""
    return html.Section(
        [
            html.P("404", className="section-number"),
            html.H1("There is no such cell"),
            html.P(why, className="lead"),
            html.P(html.A("Open the audio explorer", href="/#explorer", className="button")),
        ],
        className="wrap not-found",
    )


def _spoken(example: Example) -> str:
    text = f"“{example.text}” " if example.text else ""
    return f"{text}{example.voice}, {example.seconds:.1f} s."


def _no_script(place: str, cell: tuple[int, int] | None) -> list[str | html.A]:
    links = [html.A("the original", href=f"{place}/original.wav")]
    if cell is not None:
        links.append(html.A("this cell", href=f"{place}/cells/{cell[0]}/{cell[1]}.wav"))
    parts: list[str | html.A] = ["Without scripts, as files: "]
    for index, link in enumerate(links):
        parts += [link, "." if index == len(links) - 1 else ", "]
    return parts
