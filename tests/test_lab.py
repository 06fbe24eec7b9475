"""The Signal Lab's questions: newest first, computed once, kept, and nobody else's."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from made_lab import HeldExecutor
from test_uploads import wav

from insidessl_dash.audio.excerpt import excerpt
from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.errors import AudioError, ConfigError, NotFoundError, UnknownModelError
from insidessl_dash.core.registry import Registry
from insidessl_dash.core.settings import Settings
from insidessl_dash.corpora.known import known_corpus
from insidessl_dash.engine.at_hand import at_hand
from insidessl_dash.engine.lab import Lab
from insidessl_dash.engine.lab_spec import LabQuestion, LabTask, LabTicket
from insidessl_dash.engine.uploads import Uploads
from insidessl_dash.results.store import Store

ME, YOU = "a" * 32, "b" * 32
CLIP = "demo-f1-01"
Make = Callable[[], tuple[Lab, HeldExecutor]]


@pytest.fixture
def settings(home: Path) -> Settings:
    return Settings(home=home)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    made = Store(settings.home, settings.precomputed)
    yield made
    made.close()


@pytest.fixture
def uploads(settings: Settings) -> Uploads:
    return Uploads(settings)


@pytest.fixture
def make(settings: Settings, store: Store, uploads: Uploads) -> Iterator[Make]:
    """Make a lab on this installation; another one is this one after a restart."""
    made: list[Lab] = []

    def one() -> tuple[Lab, HeldExecutor]:
        executor = HeldExecutor()
        registry = Registry(settings.home, settings.precomputed)
        demo = lambda: known_corpus("demo", settings)  # noqa: E731
        made.append(Lab(store, lambda: executor, registry, uploads, demo))
        return made[-1], executor

    yield one
    for lab in made:
        lab.close()


def question(strength: float = 10, **fields) -> LabQuestion:
    clip = {} if "upload" in fields else {"utterance": CLIP}
    plain = {"models": ("hubert-nano",), "perturbation": "noise", "strength": strength}
    return LabQuestion(**{**clip, **plain, **fields})


def ended(lab: Lab, ticket: LabTicket, owner: str = ME) -> LabTicket:
    limit = time.monotonic() + 30
    while (found := lab.get(ticket.id, owner)).state in ("queued", "running"):
        assert time.monotonic() < limit, found
        time.sleep(0.002)
    return found


def strengths(tasks: list[LabTask]) -> list[float]:
    return [task.strength for task in tasks]


def test_an_answer_has_curves_and_sounds_and_is_computed_once(make: Make) -> None:
    lab, executor = make()
    found = ended(lab, lab.ask(question(9.7, models=("hubert-nano", "melspec")), ME))
    assert found.state == "done"
    assert found.question.strength == 10
    assert found.answer
    assert [result.model.name for result in found.answer.results] == ["hubert-nano", "melspec"]
    assert len({result.key for result in found.answer.results}) == 2
    assert all(result.key for result in found.answer.results)
    for sound in ("original", "perturbed"):
        content, private = lab.sound(found.id, ME, sound)
        assert soundfile.info(io.BytesIO(content)).samplerate == 16_000
        assert not private
    again = lab.ask(question(10, models=("hubert-nano", "melspec")), YOU)
    assert again.state == "done"
    assert again.answer == found.answer
    assert lab.ask(question(10, models=("melspec", "melspec")), YOU).question.models == ("melspec",)
    assert len(executor.given) == 1
    other = ended(lab, lab.ask(question(10, models=("melspec", "wavlm-nano")), ME))
    assert other.state == "done"
    assert [card["name"] for card in executor.given[-1].cards] == ["wavlm-nano"]


def test_what_was_made_of_the_demo_corpus_survives_a_restart(make: Make) -> None:
    lab, _executor = make()
    first = ended(lab, lab.ask(question(), ME))
    later, executor = make()
    found = ended(later, later.ask(question(), ME))
    assert found.answer == first.answer
    assert executor.given == []
    assert later.sound(found.id, ME, "perturbed") == lab.sound(first.id, ME, "perturbed")
    with pytest.raises(NotFoundError):
        later.get(first.id, ME)


def test_another_seed_strength_or_perturbation_is_another_question(make: Make) -> None:
    lab, executor = make()
    asked = [question(), question(11), question(seed=1), question(10, perturbation="gain")]
    for one in asked:
        assert ended(lab, lab.ask(one, ME)).state == "done"
    assert len(executor.given) == len(asked)


def test_the_newest_question_takes_the_place_of_those_that_have_not_begun(make: Make) -> None:
    lab, executor = make()
    executor.hold.clear()
    first = lab.ask(question(1), ME)
    assert executor.arrived.acquire(timeout=30)  # handed over, and waiting for a worker
    second, third = lab.ask(question(2), ME), lab.ask(question(3), ME)
    assert lab.get(second.id, ME).state == "superseded"
    assert ended(lab, first).state == "superseded"
    executor.hold.set()
    assert ended(lab, third).state == "done"
    assert strengths(executor.began) == [3]
    assert 2 not in strengths(executor.given)
    with pytest.raises(NotFoundError, match="ask again"):
        lab.sound(first.id, ME, "original")


def test_what_has_begun_is_finished_and_kept(make: Make) -> None:
    lab, executor = make()
    executor.run.clear()
    first = lab.ask(question(1), ME)
    assert executor.started.acquire(timeout=30)
    assert lab.get(first.id, ME).state == "running"
    second = lab.ask(question(2), ME)
    assert lab.get(first.id, ME).state == "running"
    executor.run.set()
    assert ended(lab, second).state == "done"
    assert ended(lab, first).state == "done"
    assert strengths(executor.began) == [1, 2]


def test_the_same_question_under_way_is_the_same(make: Make) -> None:
    lab, executor = make()
    executor.run.clear()
    first = lab.ask(question(1), ME)
    assert lab.ask(question(1), ME).id == first.id
    executor.run.set()
    assert ended(lab, first).state == "done"
    assert len(executor.began) == 1


def test_an_answer_that_comes_while_its_question_is_asked_again_is_not_lost(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, executor = make()
    executor.run.clear()
    first = lab.ask(question(1), ME)
    assert executor.started.acquire(timeout=30)
    found = lab._found

    def found_too_early(flight):
        answer = found(flight)
        if not executor.run.is_set():
            executor.run.set()
            ended(lab, first)
        return answer

    monkeypatch.setattr(lab, "_found", found_too_early)
    again = lab.ask(question(1), ME)
    assert (again.state == "done") == (again.answer is not None)
    assert ended(lab, again).answer
    assert len(executor.began) == 1


def test_visitors_do_not_overtake_each_other_and_share_what_is_the_same(make: Make) -> None:
    lab, executor = make()
    executor.run.clear()
    mine = lab.ask(question(1), ME)
    assert executor.started.acquire(timeout=30)
    yours, other = lab.ask(question(1), YOU), lab.ask(question(2), "c" * 32)
    executor.run.set()
    assert ended(lab, mine).state == "done"
    assert ended(lab, yours, YOU).state == "done"
    assert ended(lab, other, "c" * 32).state == "done"
    assert sorted(strengths(executor.began)) == [1, 2]
    with pytest.raises(NotFoundError):
        lab.get(mine.id, YOU)
    with pytest.raises(NotFoundError):
        lab.sound(mine.id, YOU, "original")


def test_an_upload_is_its_owners_and_leaves_nothing_on_disk(
    make: Make, uploads: Uploads, store: Store
) -> None:
    lab, _executor = make()
    upload = uploads.add(ME, "my voice.wav", io.BytesIO(wav(1.0)))
    asked = question(upload=upload.id)
    with pytest.raises(NotFoundError):
        lab.ask(asked, YOU)
    found = ended(lab, lab.ask(asked, ME))
    assert found.answer
    assert lab.sound(found.id, ME, "original")[1]  # private
    assert "my voice" not in found.answer.model_dump_json()
    assert store.live().keys("lab") == []
    uploads.delete(ME, upload.id)
    with pytest.raises(NotFoundError):
        lab.get(found.id, ME)
    with pytest.raises(NotFoundError):
        lab.sound(found.id, ME, "perturbed")


def test_what_was_made_of_an_upload_goes_with_it(make: Make, uploads: Uploads) -> None:
    lab, executor = make()
    kept, gone = (uploads.add(ME, f"{s}.wav", io.BytesIO(wav(1.0, seed=s))) for s in (1, 2))
    tickets = [ended(lab, lab.ask(question(upload=one.id), ME)) for one in (kept, gone)]
    lab.forget(ME, {gone.id})
    assert lab.get(tickets[0].id, ME).answer
    with pytest.raises(NotFoundError):
        lab.get(tickets[1].id, ME)
    assert ended(lab, lab.ask(question(upload=gone.id), ME)).answer
    assert len(executor.given) == 3
    executor.run.clear()
    late = lab.ask(question(4, upload=kept.id), ME)
    executor.until_begun(4)
    lab.forget(ME)
    executor.run.set()
    with pytest.raises(NotFoundError):
        lab.get(late.id, ME)
    assert lab.ask(question(4, upload=kept.id), ME).state != "done"


def test_a_wrong_question_says_what_to_do(make: Make) -> None:
    lab, executor = make()
    for wrong, error, says in (
        (question(models=("hubert-nan",)), UnknownModelError, "Did you mean hubert-nano"),
        (question(models=("wavlm-large",)), ConfigError, "analyze demo --model wavlm-large"),
        (question(utterance="../../etc/passwd"), NotFoundError, "GET /api/v1/lab"),
        (question(perturbation="echo"), ConfigError, "There are: noise"),
        (question(31), ConfigError, "-5 to 30 dB"),
        (question(upload="0" * 16), NotFoundError, "upload"),
    ):
        with pytest.raises(error, match=says):
            lab.ask(wrong, ME)
    for fields in (
        {"utterance": CLIP, "upload": "x"},
        {"utterance": None},
        {"models": ()},
        {"models": ("a", "b", "c")},
        {"strength": float("nan")},
        {"path": "/etc"},
    ):
        with pytest.raises(ValueError, match="validation error"):
            question(**fields)
    assert executor.given == []


def test_a_failure_is_said_and_the_next_question_is_answered(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    lab, executor = make()
    executor.failure = AudioError("the clip is silent. Choose another.")
    assert ended(lab, lab.ask(question(), ME)).error == "the clip is silent. Choose another."
    executor.failure = RuntimeError("secret place /home/somebody")
    failed = ended(lab, lab.ask(question(), ME))
    assert failed.state == "failed"
    assert failed.error
    assert "secret" not in failed.error
    assert failed.id in failed.error
    assert "secret place" in caplog.text
    assert ended(lab, lab.ask(question(), ME)).state == "done"


def test_models_at_hand_are_those_with_weights_here(settings: Settings, tmp_path: Path) -> None:
    registry = Registry(settings.home, settings.precomputed)
    names = {card.name for card in registry.cards() if at_hand(card, registry)}
    assert {"hubert-nano", "hubert-nano-init", "wavlm-nano", "melspec"} <= names
    assert not {"wavlm-large", "whisper-base", "mr-hubert-nano-b4a"} & names
    folder = tmp_path / "model"
    folder.mkdir()
    card = ModelCard(
        name="mine", title="Mine", family="hubert", size="base", kind="transformers",
        source=str(folder),
    )  # fmt: skip
    assert not at_hand(card, registry)
    (folder / "model.safetensors").write_bytes(b"x")
    assert at_hand(card, registry)


def test_an_excerpt_is_the_beginning_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    samples = 0.1 * np.random.default_rng(0).standard_normal((8_000 * 12, 2))
    soundfile.write(path, samples, 8_000, subtype="FLOAT")
    found = excerpt(path, 10.0)
    assert found.seconds == 10.0
    assert found.whole_s == 12.0
    assert found.notes == (
        "the first 10 s of 12.0 s",
        "2 channels averaged to mono",
        "resampled from 8000 Hz to 16000 Hz",
    )
    kept = np.abs(np.fft.rfft(found.samples))[: 10 * 3_000]
    meant = np.abs(np.fft.rfft(samples.mean(axis=1)[:80_000]))[: 10 * 3_000]
    assert np.corrcoef(kept, meant)[0, 1] > 0.998
    samples[:80_000] = 0
    soundfile.write(path, samples, 8_000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"my talk\.wav: its first 10.0 s are silent"):
        excerpt(path, 10.0, name="my talk.wav")
    path.write_bytes(b"not audio")
    with pytest.raises(AudioError, match="cannot be read"):
        excerpt(path, 10.0)


# -- with a real model ---------------------------------------------------------------------------


def task_of(path: Path, perturbation: str, strength: float, models: tuple[str, ...]) -> LabTask:
    registry = Registry(Path("nowhere"), Settings().precomputed)
    return LabTask(
        run="test",
        cards=[registry.get(name).model_dump(mode="json") for name in models],
        path=str(path), clip="clip", name="clip", sha256="0" * 64, corpus="demo", licence=None,
        perturbation=perturbation, strength=strength, seed=0, command="insidessl-dash lab clip",
    )  # fmt: skip


@pytest.fixture
def clip(tmp_path: Path, demo_files: list[Path]) -> Path:
    samples, rate = soundfile.read(demo_files[0], dtype="float32")
    soundfile.write(tmp_path / "clip.wav", samples[: 2 * rate], rate, subtype="FLOAT")
    return tmp_path / "clip.wav"


def test_numbers_are_those_of_the_encoder_and_the_formula(clip: Path) -> None:
    import torch

    from insidessl_dash.analyses.similarity import similarity
    from insidessl_dash.audio.strength import dial_seed, turn
    from insidessl_dash.encoders import load_encoder
    from insidessl_dash.engine.lab_task import run_lab

    found = run_lab(task_of(clip, "noise", 5, ("hubert-nano",)))
    (result,) = found.results
    samples, _rate = soundfile.read(clip, dtype="float32")
    noisy = turn(samples, "noise", 5, dial_seed("0" * 64, "noise", 0))
    layers = load_encoder("hubert-nano")(torch.from_numpy(np.stack([samples, noisy])))
    for place, layer in enumerate(layers):
        expected = similarity(layer[0].numpy(), layer[1].numpy())
        for name, curve in result.measures.items():
            assert curve.mean[place] == pytest.approx(getattr(expected, name), abs=1e-4), name
    assert result.layers == [str(n) for n in range(13)]
    assert result.config == {"perturbation": "noise", "strength": 5}
    assert "192 dimensions" in result.measures["cka"].note
    assert result.provenance.command == "insidessl-dash lab clip --model hubert-nano"
    heard, rate = soundfile.read(io.BytesIO(found.sounds.perturbed))
    assert rate == 16_000
    np.testing.assert_allclose(heard, noisy, atol=1 / 32_767)


def test_nothing_done_is_one_and_encoders_hear_what_ears_are_spared(clip: Path) -> None:
    from insidessl_dash.engine.lab_task import run_lab

    still = run_lab(task_of(clip, "gain", 0, ("hubert-nano",))).results[0]
    for curve in still.measures.values():
        assert curve.mean == pytest.approx([1.0] * 13)
    loud = run_lab(task_of(clip, "gain", 20, ("hubert-nano", "melspec")))
    # Clipping would change HuBERT's layers; a gain alone does not, as its input is normalised.
    assert min(loud.results[0].measures["centred"].mean) > 0.9999
    original, _ = soundfile.read(io.BytesIO(loud.sounds.original))
    perturbed, _ = soundfile.read(io.BytesIO(loud.sounds.perturbed))
    samples, _ = soundfile.read(clip)
    assert np.abs(perturbed).max() == pytest.approx(0.999, abs=1e-3)
    gain = 10 ** (loud.sounds.gain_db / 20)
    assert gain < 1
    np.testing.assert_allclose(original, samples * gain, atol=1.5 / 32_767)
    assert 20 * np.log10(np.std(perturbed) / np.std(original)) == pytest.approx(20, abs=0.05)


def test_where_time_was_stretched_only_means_are_given(clip: Path) -> None:
    from insidessl_dash.engine.lab_task import run_lab

    found = run_lab(task_of(clip, "speed", 1.25, ("hubert-nano",)))
    (result,) = found.results
    assert result.primary == "means"
    assert all(0 < value < 1 for value in result.measures["means"].mean)
    for name in ("centred", "frames", "cka"):
        assert result.measures[name].mean == [None] * 13
        assert "duration changes" in result.measures[name].note
    assert found.sounds.seconds == (2.0, 1.6)
    json.loads(result.model_dump_json())
