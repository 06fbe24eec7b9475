"""The documents say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from typer.main import get_command

from insidessl_dash.analyses import ANALYSES
from insidessl_dash.cli.main import app
from insidessl_dash.core.lenses import LENSES
from insidessl_dash.core.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_every_command_is_in_the_readme() -> None:
    group = get_command(app)
    for name, command in group.commands.items():
        children = getattr(command, "commands", None)
        if children is None:
            assert f"insidessl-dash {name}" in README or f"`{name}`" in README, name
            continue
        for child in children:
            assert f"{name} {child}" in README, f"{name} {child}"


def test_every_setting_is_in_the_readme() -> None:
    for name in Settings.model_fields.keys() - {"precomputed", "assets"}:
        short = name.removeprefix("upload_").upper()
        assert f"INSIDESSL_{name.upper()}" in README or f"`_{short}`" in README, name


def test_the_notebook_example_runs() -> None:
    code = re.search(r"```python\n(.*?)```", README, re.S)
    assert code
    names: dict = {}
    exec(code.group(1), names)
    assert {r.model.name for r in names["results"]} == {"melspec", "hubert-nano"}
    assert len(names["encoder"].layers) == 13


def test_links_to_files_lead_somewhere() -> None:
    for document in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = document.read_text()
        targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text) + re.findall(
            r'src="([^":]+)"', text
        )
        for target in targets:
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_torch_free_descriptions_match_the_analyses() -> None:
    assert list(ANALYSES) == [lens.name for lens in LENSES]
    for analysis in ANALYSES.values():
        assert (analysis.__doc__ or "").strip()


def test_the_glossary_names_every_lens_and_measure() -> None:
    glossary = (ROOT / "docs" / "glossary.md").read_text().lower()
    for name in ANALYSES:
        assert name in glossary
