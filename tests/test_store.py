"""The store: what goes in comes out, what is damaged is absent, what is private stays so."""

from __future__ import annotations

import pickle
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from insidessl_dash.core.errors import StorageError
from insidessl_dash.results.export import to_csv, to_document, to_rows
from insidessl_dash.results.schema import Result, Values
from insidessl_dash.results.store import Blobs, Store, pack_values, unpack_values


def made_result(key: str = "k1", model: str = "fixture-model", lens: str = "curvature") -> Result:
    """A small result for tests; its numbers stand for nothing."""
    curve = {
        "title": "Curvature", "unit": "rad", "mean": [1.0, None], "std": [0.1, None],
        "ci95": [(0.9, 1.1), None], "n": 3,
    }  # fmt: skip
    return Result.model_validate(
        {
            "key": key, "lens": lens, "config": {},
            "model": {"name": model, "title": model, "family": "hubert", "size": "nano"},
            "corpus": {"name": "c", "digest": "d", "utterances": 3, "seconds": 9.0},
            "layers": ["0", "1"], "frame_rates_hz": [50.0, 50.0], "primary": "signed",
            "measures": {"signed": curve}, "utterances": [{"id": "a"}],
            "provenance": {
                "created": "2026-01-01T00:00:00+00:00", "versions": {}, "device": "cpu", "seed": 0,
                "command": "", "wall_s": 1.0, "analysis_version": 1,
            },
        }
    )  # fmt: skip


def made_values() -> Values:
    return Values(ids=["a", "b"], measures={"signed": np.array([[1.0, np.nan], [2.0, 0.5]])})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home", tmp_path / "precomputed")


def test_a_result_comes_back_as_it_went_in(store: Store) -> None:
    store.put(made_result(), made_values())
    assert store.get("k1") == made_result()
    values = store.values("k1")
    assert values is not None
    assert values.ids == ["a", "b"]
    np.testing.assert_array_equal(values.measures["signed"], made_values().measures["signed"])


def test_another_process_sees_it(store: Store, tmp_path: Path) -> None:
    store.put(made_result(), made_values())
    again = Store(tmp_path / "home", tmp_path / "precomputed")
    assert [r.key for r in again.find(model="fixture-model", corpus="c", lens="curvature")] == [
        "k1"
    ]
    assert again.find(lens="entropy") == []


def test_private_results_are_found_by_key_and_never_listed(store: Store) -> None:
    store.put(made_result("secret"), made_values(), private=True)
    assert store.get("secret") is not None
    assert store.is_private("secret")
    assert store.results() == []


def test_shipped_results_are_read_and_never_written(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "precomputed" / "results"
    folder.mkdir(parents=True)
    (folder / "x.json").write_text(made_result("shipped").model_dump_json())
    (folder / "x.npz").write_bytes(pack_values(made_values()))
    assert [r.key for r in store.results()] == ["shipped"]
    assert not store.is_private("shipped")
    assert store.values("shipped") is not None
    assert not (tmp_path / "home").exists()


def test_a_damaged_entry_counts_as_absent(store: Store, tmp_path: Path) -> None:
    store.put(made_result(), made_values())
    store.close()
    with sqlite3.connect(tmp_path / "home" / "cache" / "cache.db") as database:
        database.execute("UPDATE Cache SET value = x'00112233' WHERE key LIKE 'result:%'")
    fresh = Store(tmp_path / "home", tmp_path / "precomputed")
    assert fresh.get("k1") is None
    fresh.put(made_result(), made_values())
    assert fresh.get("k1") == made_result()


def test_a_pickle_in_the_cache_is_refused(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "cache")
    blobs.set("k", b"x")
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.touch, (ran,))

    with sqlite3.connect(tmp_path / "cache" / "cache.db") as database:
        database.execute("UPDATE Cache SET value = ?, mode = 4", (pickle.dumps(Evil()),))
    assert Blobs(tmp_path / "cache").get("k") is None
    assert not ran.exists()


def test_a_folder_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where a folder should be")
    store = Store(tmp_path / "home", tmp_path / "precomputed")
    with pytest.raises(StorageError, match="INSIDESSL_HOME"):
        store.put(made_result(), made_values())
    assert store.get("k1") is None
    assert store.results() == []


def test_values_keep_six_digits(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = Values(ids=["é", "b"], measures={"m": rng.standard_normal((2, 13))})
    back = unpack_values(pack_values(values))
    assert back.ids == values.ids
    np.testing.assert_allclose(back.measures["m"], values.measures["m"], rtol=1e-6)


def test_exports_say_the_same_as_the_result() -> None:
    rows = to_rows([made_result()])
    assert rows[0]["mean"] == 1.0
    assert (rows[0]["ci95_low"], rows[0]["ci95_high"]) == (0.9, 1.1)
    assert rows[1]["mean"] is None
    assert rows[1]["depth_percent"] == 100.0
    lines = to_csv([made_result()]).splitlines()
    assert lines[0].startswith("model,corpus,lens,measure,unit,layer")
    assert len(lines) == 3
    document = to_document([made_result()])
    assert document["lenses"]["curvature"]["mean"] == [1.0, None]
    assert document["lenses"]["curvature"]["unit"] == "rad"
    assert document["layers"] == ["0", "1"]
