"""A visitor's own matrix: found, decoded row by row, kept, private, and gone with its recording."""

from __future__ import annotations

import io
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from made_matrices import LAYERS
from made_own import MadeDecoder, write_made_bank
from made_services import ROOT, make_services, make_settings
from pydantic import ValidationError
from test_uploads import wav
from typer.testing import CliRunner

from insidessl_dash.cli.main import app
from insidessl_dash.core.errors import ConflictError, NotFoundError, UnknownModelError
from insidessl_dash.core.registry import Registry
from insidessl_dash.engine.own import ears, plan_matrix
from insidessl_dash.engine.own_spec import HEAD
from insidessl_dash.engine.records import JobRecords
from insidessl_dash.engine.service import JobService
from insidessl_dash.engine.spec import Job, JobSpec, MatrixSpec
from insidessl_dash.engine.uploads import Uploads
from insidessl_dash.results.decoder_banks import FOLDER as BANKS
from insidessl_dash.results.decoder_banks import DecoderBanks, publish
from insidessl_dash.results.own_matrices import OwnMatrices
from insidessl_dash.results.store import Store

ME, YOU = "a" * 32, "b" * 32


def wait_for(condition, seconds: float = 60.0):
    """Poll until the condition gives something; fail loudly if it never does."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.005)
    raise AssertionError("timed out")


def ended(service: JobService, job: Job, owner: str = ME) -> Job:
    return wait_for(
        lambda: (j := service.get(job.id, owner)).state in ("done", "failed", "cancelled") and j
    )


@pytest.fixture
def place(tmp_path: Path) -> Iterator[SimpleNamespace]:
    """An installation with made decoders of wav2vec2-nano, and a recording of mine."""
    found = make_settings(tmp_path, [])
    (found.precomputed / "models").symlink_to(ROOT / "precomputed" / "models")
    write_made_bank(found.home)
    services = make_services(found)
    services.service.executor = MadeDecoder()
    yield SimpleNamespace(
        settings=found,
        services=services,
        service=services.service,
        decoder=services.service.executor,
        uploads=services.uploads,
        matrices=services.service.matrices,
        upload=services.uploads.add(ME, "my voice.wav", io.BytesIO(wav(1.0))),
    )
    services.service.close()


def ask(place: SimpleNamespace, owner: str = ME) -> Job:
    spec = MatrixSpec(model="wav2vec2-nano", upload=place.upload.id)
    return place.service.submit(spec, owner)


# -- what is there ----------------------------------------------------------------------------


def test_a_bank_is_found_by_its_folder(tmp_path: Path) -> None:
    home, shipped = tmp_path / "home", tmp_path / "shipped"
    banks = DecoderBanks(home, shipped)
    assert banks.models() == []
    write_made_bank(shipped, decoder_layers=["0", "3"])
    (bank,) = banks.models()
    assert (bank.model, bank.decoder_layers, bank.updates) == ("wav2vec2-nano", ("0", "3"), 7)
    assert bank.missing == tuple(x for x in LAYERS if x not in ("0", "3"))
    write_made_bank(home, weights=b"mine")
    assert banks.get("wav2vec2-nano").decoder_layers == tuple(LAYERS), "what was trained here"
    with pytest.raises(NotFoundError, match="gcm train --model wavlm-nano"):
        banks.get("wavlm-nano")
    with pytest.raises(NotFoundError):
        banks.get("../decoders/wav2vec2-nano")


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "hubert"},
        {"layers": ["99"]},
        {"layers": []},
        {"encoder": {"name": "wav2vec2-nano"}},
    ],
)
def test_what_is_no_bank_is_left_out(tmp_path: Path, changes: dict) -> None:
    write_made_bank(tmp_path, **changes)
    (write_made_bank(tmp_path, "wavlm-nano") / "model.safetensors").unlink()
    damaged = write_made_bank(tmp_path, "hubert-nano")
    (damaged / "config.json").write_text("{")
    assert DecoderBanks(tmp_path, tmp_path / "none").models() == []


def test_weights_that_come_after_their_config_are_found(tmp_path: Path) -> None:
    folder = write_made_bank(tmp_path)
    banks = DecoderBanks(tmp_path, tmp_path / "none")
    (folder / "model.safetensors").rename(folder / "later")
    assert banks.models() == []
    (folder / "later").rename(folder / "model.safetensors")
    assert [bank.model for bank in banks.models()] == ["wav2vec2-nano"]


def test_trained_decoders_take_the_place_of_older_ones(tmp_path: Path) -> None:
    product = write_made_bank(tmp_path / "run", weights=b"new")
    write_made_bank(tmp_path, decoder_layers=["0"])
    banks = DecoderBanks(tmp_path, tmp_path / "none")
    old = banks.get("wav2vec2-nano").weights_sha256
    target = publish(product, tmp_path, "wav2vec2-nano")
    bank = banks.get("wav2vec2-nano")
    assert bank.folder == target
    assert bank.decoder_layers == tuple(LAYERS)
    assert bank.weights_sha256 != old
    assert [path.name for path in (tmp_path / BANKS).iterdir()] == ["wav2vec2-nano"], "no debris"


@pytest.mark.parametrize(
    ("words", "copied"),
    [
        ([], True),
        (["--no-dashboard"], False),
        (["--layer", "3"], False),
        (["--layer", "3", "--dashboard"], True),
    ],
)
def test_training_puts_decoders_where_the_dashboard_finds_them(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], copied: bool
) -> None:
    def train(*_args, **_options) -> None:
        write_made_bank(tmp_path / "made").rename(tmp_path / "run" / "final")

    (tmp_path / "run").mkdir()
    monkeypatch.setattr("insidessl_dash.cli.training.train", train)
    given = ["gcm", "train", "--model", "wav2vec2-nano", "--data", "x", "--out"]
    done = CliRunner().invoke(app, [*given, str(tmp_path / "run"), *words])
    assert done.exit_code == 0, (done.output, done.exception)
    found = DecoderBanks(home, tmp_path / "none").models()
    assert [bank.model for bank in found] == (["wav2vec2-nano"] if copied else [])
    assert (tmp_path / "run" / "final" / "config.json").is_file(), "the run keeps its own"


def test_a_first_look_does_not_hide_flow_decoders(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("insidessl_dash.cli.training.train", lambda *_args, **_options: None)
    made = write_made_bank(tmp_path / "made", weights=b"look", preset="regression")
    (tmp_path / "run").mkdir()
    made.rename(tmp_path / "run" / "final")
    own = home / "gcm" / "decoders"
    given = ["gcm", "train", "--model", "wav2vec2-nano", "--data", "x", "--out"]
    words = [*given, str(tmp_path / "run"), "--preset", "regression"]
    flow = write_made_bank(home)
    kept = CliRunner().invoke(app, words)
    assert kept.exit_code == 0
    assert "keeps the flow decoders of wav2vec2-nano" in " ".join(kept.output.split())
    assert (flow / "model.safetensors").read_bytes() == b"made"
    assert CliRunner().invoke(app, [*words, "--dashboard"]).exit_code == 0
    assert (own / "wav2vec2-nano" / "model.safetensors").read_bytes() == b"look"


def test_a_model_never_judges_itself(place: SimpleNamespace) -> None:
    registry, home = place.services.registry, place.settings.home
    banks = DecoderBanks(home, place.settings.precomputed)
    for model, content, voice in (
        ("wav2vec2-nano", "hubert-nano-it2", "ecapa-nano"),
        ("hubert-nano-it2", "wavlm-nano", "ecapa-nano"),
        ("ecapa-nano", "hubert-nano-it2", "wavlm-nano"),
    ):
        write_made_bank(home, model)
        found = ears(banks.get(model), registry)
        assert (found.content.name, found.voice.name) == (content, voice)
        assert found.vocoder == "shipped:fourier-vocoder"


def test_a_model_does_not_judge_itself_under_another_name(place: SimpleNamespace) -> None:
    from insidessl_dash.results.decoder_banks import weights_digest

    own = weights_digest(place.settings.precomputed / "models" / "hubert-nano-it2")
    folder = write_made_bank(place.settings.home, "mine")
    config = json.loads((folder / "config.json").read_text())
    config["encoder"]["weights_sha256"] = own
    (folder / "config.json").write_text(json.dumps(config))
    bank = DecoderBanks(place.settings.home, place.settings.precomputed).get("mine")
    assert ears(bank, place.services.registry).content.name == "wavlm-nano"


def test_ecapa_and_the_fourier_vocoder_are_taken_once_they_ship(
    place: SimpleNamespace, tmp_path: Path
) -> None:
    shipped = tmp_path / "shipped"
    for name in ("hubert-nano-it2", "ecapa-nano", "fourier-vocoder"):
        (shipped / "models" / name).mkdir(parents=True)
        (shipped / "models" / name / "card.json").write_text("{}")
    bank = DecoderBanks(place.settings.home, shipped).get("wav2vec2-nano")
    registry = Registry(place.settings.home, shipped)
    with pytest.raises(NotFoundError, match="No weights of the Nano family"):
        ears(bank, registry)
    (shipped / "models" / "hubert-nano-it2" / "model.safetensors").write_bytes(b"ear")
    alone = ears(bank, registry)
    assert (alone.content.name, alone.voice.name, alone.vocoder) == (*["hubert-nano-it2"] * 2, "")
    for file in ("config.json", "model.safetensors"):
        (shipped / "models" / "fourier-vocoder" / file).write_bytes(b"x")
    assert ears(bank, registry).vocoder == "shipped:fourier-vocoder"


# -- jobs -------------------------------------------------------------------------------------


def test_a_matrix_is_another_kind_of_job(place: SimpleNamespace) -> None:
    job = ended(place.service, ask(place))
    assert (job.state, job.completed, job.total) == ("done", 169, 169)
    (key,) = job.results
    matrix = place.matrices.get(ME, key)
    assert matrix.finished
    assert matrix.done == LAYERS
    assert matrix.head.upload == place.upload.id
    assert matrix.example.voice == "my voice.wav"
    assert matrix.example.metrics["content"].cells[3][7] == pytest.approx(3.07)
    assert matrix.example.metrics["stoi"].cells == [[None] * 13] * 13
    assert matrix.example.metrics["stoi"].why == [["0.30 s: STOI needs 0.5 s"] * 13] * 13
    assert matrix.wall_s == pytest.approx(1.8)
    assert place.matrices.cell(ME, key, 12, 0).read_bytes()[:4] == b"OggS"
    records = {j.id: j for _owner, j in JobRecords(place.settings.home).all()}
    assert records[job.id].spec == MatrixSpec(model="wav2vec2-nano", upload=place.upload.id)


def test_a_spec_is_one_kind_or_the_other() -> None:
    lenses = {"models": ["melspec"], "lenses": [{"name": "entropy"}], "corpus": "demo"}
    assert isinstance(Job.model_validate({"id": "1", "spec": lenses}).spec, JobSpec)
    with pytest.raises(ValidationError):
        Job.model_validate({"id": "1", "spec": lenses | {"upload": "x"}})
    with pytest.raises(ValidationError):
        MatrixSpec.model_validate({"model": "m", "upload": "u", "audio": "/etc/passwd"})


def test_the_same_asked_twice_is_decoded_once(place: SimpleNamespace) -> None:
    place.decoder.gate = threading.Semaphore(0)
    first = ask(place)
    assert ask(place).id == first.id, "still under way: the same job"
    place.decoder.gate.release(13)
    key = ended(place.service, first).results[0]
    asked = len(place.decoder.asked)
    again = ended(place.service, ask(place))
    assert again.id != first.id
    assert (again.state, again.results) == ("done", [key])
    assert len(place.decoder.asked) == asked == 14


def test_what_was_finished_survives_a_lost_worker(place: SimpleNamespace) -> None:
    place.decoder.lost = 4
    job = ended(place.service, ask(place))
    assert (job.state, "worker died" in (job.error or "")) == ("failed", True)
    matrix = place.matrices.get(ME, job.results[0])
    assert matrix.done == LAYERS[:4]
    assert matrix.example.metrics["content"].cells[4] == [None] * 13
    with pytest.raises(NotFoundError, match="not spoken yet"):
        place.matrices.cell(ME, matrix.key, 4, 0)
    place.decoder.lost, place.decoder.asked = None, []
    job = ended(place.service, ask(place))
    assert (job.state, job.completed) == ("done", 169)
    assert place.decoder.asked == list(range(4, 13)), "neither the head nor the rows there were"
    assert place.matrices.get(ME, matrix.key).finished


def test_a_damaged_row_is_decoded_again(place: SimpleNamespace) -> None:
    key = ended(place.service, ask(place)).results[0]
    (path,) = place.settings.home.glob("gcm/own/*/*/row-05.json")
    path.write_text(path.read_text()[:40])
    assert place.matrices.get(ME, key).done == [x for x in LAYERS if x != "5"]
    place.decoder.asked = []
    ended(place.service, ask(place))
    assert place.decoder.asked == [5]


def test_a_restart_goes_on_with_the_rows_that_lack(place: SimpleNamespace) -> None:
    place.decoder.gate = threading.Semaphore(3)
    job = ask(place)
    place.decoder.waiting.wait(30)
    place.service.close()  # as when the server is stopped: the record says it was running
    wait_for(lambda: len(place.matrices.list(ME)[0].done) == 3)
    decoder, found = MadeDecoder(), place.settings
    again = JobService(
        Store(found.home, found.precomputed), decoder, place.services.registry, place.uploads,
        place.service.corpora,
    )  # fmt: skip
    job = ended(again, job)
    assert (job.state, job.completed) == ("done", 169)
    assert decoder.asked == list(range(3, 13))
    again.close()


def test_cancel_keeps_what_is_done_and_frees_the_worker(place: SimpleNamespace) -> None:
    place.decoder.gate = threading.Semaphore(2)
    job = ask(place)
    place.decoder.waiting.wait(30)
    wait_for(lambda: place.service.get(job.id, ME).completed >= 26)
    assert place.service.get(job.id, ME).completed == 31, "5 cells of the third row are done"
    place.service.cancel(job.id, ME)
    assert ended(place.service, job).state == "cancelled"
    assert place.decoder.asked == [HEAD, 0, 1]
    (matrix,) = place.matrices.list(ME)
    assert matrix.done == LAYERS[:2]


def test_two_visitors_with_one_recording_have_two_matrices(place: SimpleNamespace) -> None:
    key = ended(place.service, ask(place)).results[0]
    with pytest.raises(NotFoundError):
        ask(place, YOU)
    theirs = place.uploads.add(YOU, "theirs.wav", io.BytesIO(wav(1.0)))
    for asked in (
        lambda: place.matrices.get(YOU, key),
        lambda: place.matrices.cell(YOU, key, 0, 0),
        lambda: place.matrices.reference(YOU, key, "original"),
    ):
        with pytest.raises(NotFoundError):
            asked()
    spec = MatrixSpec(model="wav2vec2-nano", upload=theirs.id)
    job = ended(place.service, place.service.submit(spec, YOU), YOU)
    assert job.results == [key], "the same audio"
    assert place.matrices.get(YOU, key).example.voice == "my voice.wav".replace(
        "my voice", "theirs"
    )
    place.service.forget(YOU)
    assert place.matrices.list(YOU) == []
    assert place.matrices.get(ME, key).finished, "mine stays"


def test_a_deleted_recording_takes_its_sounds_along(place: SimpleNamespace) -> None:
    other = place.uploads.add(ME, "other.wav", io.BytesIO(wav(1.0, seed=3)))
    keys = []
    for upload in (place.upload, other):
        spec = MatrixSpec(model="wav2vec2-nano", upload=upload.id)
        keys += ended(place.service, place.service.submit(spec, ME)).results
    assert len(set(keys)) == 2
    place.uploads.delete(ME, place.upload.id)
    place.service.forget(ME, {place.upload.id})
    assert [matrix.key for matrix in place.matrices.list(ME)] == keys[1:]
    left = list((place.settings.home / "gcm" / "own").rglob("*.opus"))
    assert {path.parent.name for path in left} == {keys[1]}


def test_expiry_takes_sounds_along(place: SimpleNamespace) -> None:
    ended(place.service, ask(place))
    late = Uploads(place.settings, clock=lambda: time.time() + 25 * 3600)
    late.on_expire = place.service.forget
    assert late.expire() == 1
    assert place.matrices.list(ME) == []


def test_nothing_comes_back_of_what_is_deleted_while_it_is_decoded(place: SimpleNamespace) -> None:
    place.decoder.gate = threading.Semaphore(1)
    job = ask(place)
    place.decoder.waiting.wait(30)
    place.uploads.delete(ME, place.upload.id)
    place.service.forget(ME, {place.upload.id})
    place.decoder.gate.release(20)
    assert ended(place.service, job).state == "cancelled"
    assert list((place.settings.home / "gcm" / "own").rglob("*.opus")) == []


def test_a_restart_sweeps_what_outlived_its_recording(place: SimpleNamespace) -> None:
    ended(place.service, ask(place))
    kept = place.uploads.add(ME, "other.wav", io.BytesIO(wav(1.0, seed=3)))
    spec = MatrixSpec(model="wav2vec2-nano", upload=kept.id)
    (key,) = ended(place.service, place.service.submit(spec, ME)).results
    place.uploads.delete(ME, place.upload.id)  # and then the server crashed
    begun = place.settings.home / "gcm" / "own" / ("c" * 32) / ("d" * 32)
    begun.mkdir(parents=True)
    (begun / "original.opus").write_bytes(b"of an interrupted beginning")
    make_services(place.settings).service.close()
    assert [matrix.key for matrix in place.matrices.list(ME)] == [key]
    left = {path.parent.name for path in (place.settings.home / "gcm" / "own").rglob("*.opus")}
    assert left == {key}


def test_one_visitor_does_not_take_every_turn(place: SimpleNamespace) -> None:
    place.decoder.gate = threading.Semaphore(0)
    jobs = []
    for seed in range(4):
        upload = place.uploads.add(ME, f"{seed}.wav", io.BytesIO(wav(1.0, seed=10 + seed)))
        spec = MatrixSpec(model="wav2vec2-nano", upload=upload.id)
        if seed < 3:
            jobs.append(place.service.submit(spec, ME))
    with pytest.raises(ConflictError, match="3 matrices of yours"):
        place.service.submit(spec, ME)
    assert place.service.submit(jobs[0].spec, ME).id == jobs[0].id, "the same is no other"
    place.service.cancel(jobs[0].id, ME)
    jobs.append(place.service.submit(spec, ME))
    place.decoder.gate.release(100)
    assert [ended(place.service, job).state for job in jobs] == ["cancelled", *["done"] * 3]


def test_what_cannot_be_decoded_is_refused_at_once(place: SimpleNamespace) -> None:
    for model, upload, error, says in (
        ("wavlm-nano", place.upload.id, NotFoundError, "gcm train --model wavlm-nano"),
        ("wav2vec2-nan", place.upload.id, UnknownModelError, "Did you mean"),
        ("../../etc", place.upload.id, UnknownModelError, "no model"),
        ("wav2vec2-nano", "0" * 16, NotFoundError, "expired"),
        ("wav2vec2-nano", "../x", NotFoundError, "No upload"),
    ):
        with pytest.raises(error, match=says):
            place.service.submit(MatrixSpec(model=model, upload=upload), ME)


def test_the_key_follows_what_goes_in(place: SimpleNamespace) -> None:
    def key(upload=place.upload, model="wav2vec2-nano") -> str:
        spec = MatrixSpec(model=model, upload=upload.id)
        return plan_matrix(spec, ME, place.services.registry, place.uploads).key

    first = key()
    other = place.uploads.add(ME, "other.wav", io.BytesIO(wav(1.0, seed=3)))
    write_made_bank(place.settings.home, "wavlm-nano")
    keys = {first, key(other), key(model="wavlm-nano")}
    write_made_bank(place.settings.home, weights=b"trained longer")
    assert len(keys | {key()}) == 4
    write_made_bank(place.settings.home)
    assert key() == first


def test_the_oldest_matrix_goes_first(place: SimpleNamespace) -> None:
    key = ended(place.service, ask(place)).results[0]
    matrix = place.matrices.get(ME, key)
    few = OwnMatrices(place.settings.home, most=2)
    sounds = {"original": b"o", "vocoder": b"v"}
    for at, name in enumerate(("1" * 32, "2" * 32)):
        few.begin(ME, name, matrix.head, sounds)
        head = next(place.settings.home.glob(f"gcm/own/*/{name}/head.json"))
        os.utime(head, (time.time() + 10 * (at + 1),) * 2)
    assert {m.key for m in few.list(ME)} == {"1" * 32, "2" * 32}
    for name in ("../" + "1" * 29, "1" * 31, "Z" * 32):
        with pytest.raises(NotFoundError):
            few.get(ME, name)
