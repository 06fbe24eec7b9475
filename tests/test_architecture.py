"""What must stay true of the whole: no torch in the web process, no cycle between rooms."""

from __future__ import annotations

import json
import os
import subprocess
import sys


def test_the_web_process_does_not_import_torch() -> None:
    code = (
        "import sys, json;"
        "from insidessl_dash.dashboard.factory import create_app, create_services;"
        "app = create_app(services=create_services());"
        "client = app.server.test_client();"
        "assert client.get('/').status_code == 200;"
        "assert client.get('/_dash-layout').status_code == 200;"
        "assert client.get('/api/v1/models').status_code == 200;"
        "print(json.dumps(sorted(m for m in sys.modules if '.' not in m)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert not loaded & {"torch", "torchaudio", "transformers", "sklearn", "librosa", "numba"}


def test_rooms_import_one_way() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
