"""Which models are known, and what a misspelt name says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.catalogue import BUILT_IN
from insidessl_dash.core.errors import ConfigError, ConflictError, ModelError, UnknownModelError
from insidessl_dash.core.registry import Registry


@pytest.fixture
def known(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "home", tmp_path / "precomputed")


def card(name: str = "my-hubert", **fields: object) -> ModelCard:
    values = {"title": "Mine", "family": "hubert", "size": "base", "kind": "transformers"}
    return ModelCard(**{"name": name, "source": "someone/some-hubert", **values, **fields})


def test_every_built_in_card_is_complete() -> None:
    names = [each.name for each in BUILT_IN]
    assert len(set(names)) == len(names)
    for each in BUILT_IN:
        assert each.objective, each.name
        assert each.data, each.name
        assert each.not_for, each.name
        if each.kind != "melspec":
            assert each.licence, each.name
            assert re.fullmatch(r"arXiv:\d{4}\.\d{5}", each.paper), each.name
            assert each.layers, each.name
        if each.kind in ("transformers", "whisper"):
            assert re.fullmatch(r"[\w.-]+/[\w.-]+|shipped:[\w.-]+", each.source), each.name


def test_built_in_models_cover_the_families_in_both_sizes() -> None:
    self_supervised = [c for c in BUILT_IN if c.kind == "transformers" and not c.supervised]
    for family in ("wav2vec2", "hubert", "wavlm", "data2vec", "unispeech-sat"):
        sizes = {c.size for c in self_supervised if c.family == family}
        assert {"base", "large"} <= sizes, family
    supervised = {c.name for c in BUILT_IN if c.supervised}
    assert supervised == {
        "whisper-base", "data2vec-base-10m", "data2vec-base-100h", "data2vec-base-960h",
        "ecapa-voxceleb", "ecapa-nano",
    }  # fmt: skip


def test_random_cards_name_a_known_base(known: Registry) -> None:
    for each in BUILT_IN:
        if each.kind == "random":
            assert known.get(str(each.base)).source.startswith("shipped:")
            assert each.seed is not None


@pytest.mark.parametrize(
    ("typo", "meant"),
    [("hubert-bse", "hubert-base"), ("WavLM-Large", "wavlm-large"), ("mel-spec", "melspec")],
)
def test_unknown_name_suggests_the_nearest(known: Registry, typo: str, meant: str) -> None:
    with pytest.raises(UnknownModelError, match=rf"Did you mean .*{meant}") as caught:
        known.get(typo)
    assert caught.value.status == 404


def test_unknown_name_without_neighbours_says_how_to_list(known: Registry) -> None:
    with pytest.raises(UnknownModelError, match="models list") as caught:
        known.get("x" * 10_000)
    assert len(str(caught.value)) < 200


def test_added_models_persist_and_can_be_removed(known: Registry) -> None:
    known.add(card())
    again = Registry(known.home, known.precomputed)
    assert again.get("my-hubert") == card()
    assert [c.name for c in again.cards()] == [c.name for c in BUILT_IN] + ["my-hubert"]
    with pytest.raises(UnknownModelError, match="my-hubert"):
        again.get("my-huber")
    again.remove("my-hubert")
    with pytest.raises(UnknownModelError):
        known.get("my-hubert")
    with pytest.raises(UnknownModelError):
        known.remove("my-hubert")


def test_a_folder_is_kept_with_its_absolute_path(
    known: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    assert known.add(card(source="runs")).source == str((tmp_path / "runs").resolve())
    assert known.get("my-hubert").source == str((tmp_path / "runs").resolve())


def test_names_that_are_taken_are_refused(known: Registry) -> None:
    with pytest.raises(ConflictError, match="built-in"):
        known.add(card("hubert-base"))
    with pytest.raises(ConflictError, match="built-in"):
        known.remove("hubert-base")
    known.add(card())
    with pytest.raises(ConflictError, match="remove it first"):
        known.add(card())


def test_a_stored_card_never_shadows_a_built_in_one(known: Registry) -> None:
    known.path.parent.mkdir(parents=True)
    known.path.write_text(json.dumps([card("hubert-base").model_dump(mode="json")]))
    assert known.get("hubert-base").source == "facebook/hubert-base-ls960"
    assert [c.name for c in known.cards()].count("hubert-base") == 1


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"source": ""}, "no source"),
        ({"kind": "random"}, "base"),
        ({"kind": "random", "base": "melspec", "seed": 0}, "melspec"),
    ],
)
def test_cards_that_cannot_be_loaded_are_refused(
    known: Registry, fields: dict[str, object], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        known.add(card(**fields))
    with pytest.raises(UnknownModelError):
        known.add(card(kind="random", base="no-such-model", seed=0))
    assert not known.path.exists()


@pytest.mark.parametrize("text", ["", "{", '{"a": 1}', '[{"name": "x"}]', '["x"]'])
def test_a_damaged_file_names_itself(known: Registry, text: str) -> None:
    known.path.parent.mkdir(parents=True)
    known.path.write_text(text)
    with pytest.raises(ModelError, match=r"models\.json"):
        known.cards()
    assert known.get("hubert-base").name == "hubert-base"


def test_the_registry_does_without_torch() -> None:
    code = "import sys; import insidessl_dash.core.registry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
