"""How long a visitor waits for the matrix of a recording of 4 s, from asking to the last cell.

Through the job service and a local worker, as the dashboard does it: until the first row can be
heard, until the last one can, and the same asked again. Needs decoders of the model on this
installation (``insidessl-dash gcm train``).
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
import time
from pathlib import Path

import soundfile

from insidessl_dash.core.settings import settings
from insidessl_dash.dashboard.factory import create_services
from insidessl_dash.engine.service import JobService
from insidessl_dash.engine.spec import ENDED, MatrixSpec
from insidessl_dash.results.decoder_banks import DecoderBanks, publish

OWNER = "benchmark"


def wait(service: JobService, spec: MatrixSpec) -> tuple[float, float]:
    """Seconds until the first row can be heard, and until the job has ended."""
    started, first = time.monotonic(), 0.0
    job = service.submit(spec, OWNER)
    while job.state not in ENDED:
        time.sleep(0.01)
        job = service.get(job.id, OWNER)
        if not first and job.results and service.matrices.get(OWNER, job.results[0]).done:
            first = time.monotonic() - started
    assert job.state == "done", job.error
    return first, time.monotonic() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="wav2vec2-nano")
    parser.add_argument("--seconds", type=float, default=4.0)
    asked = parser.parse_args()
    bank = DecoderBanks(settings().home, settings().precomputed).get(asked.model)
    audio = next(iter(sorted((settings().precomputed / "demo" / "audio").glob("*.flac"))))
    samples, rate = soundfile.read(audio)
    clip = io.BytesIO()
    soundfile.write(clip, samples[: round(asked.seconds * rate)], rate, format="WAV")
    clip.seek(0)
    with tempfile.TemporaryDirectory() as home:
        publish(bank.folder, Path(home), asked.model)
        os.environ["INSIDESSL_HOME"] = home
        settings.cache_clear()
        services = create_services()
        services.service.executor.warm()
        upload = services.uploads.add(OWNER, "clip.wav", clip)
        spec = MatrixSpec(model=asked.model, upload=upload.id)
        first, whole = wait(services.service, spec)
        _first, again = wait(services.service, spec)
        (matrix,) = services.service.matrices.list(OWNER)
        services.close()
    cells = len(matrix.example.decoder_layers) * len(matrix.example.layers)
    print(f"{asked.model}, {asked.seconds:g} s, {cells} cells, {os.cpu_count()} cores, ", end="")
    print(f"load {os.getloadavg()[0]:.1f}")
    print(f"first row {first:.1f} s, all {whole:.1f} s; again {again:.2f} s")
    print(f"of the worker's own time {matrix.wall_s:.1f} s, {matrix.wall_s / cells:.2f} s a cell")


if __name__ == "__main__":
    main()
