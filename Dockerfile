# The dashboard, the Dask scheduler and the worker are one image with different commands.
#
#   docker build -t insidessl-dash .                          CPU
#   docker build -t insidessl-dash --build-arg DEVICE=cu128 . CUDA 12.8; needs the NVIDIA container
#                                                             toolkit on the host
#   docker run --rm -p 127.0.0.1:8050:8050 -v insidessl:/data insidessl-dash

ARG PYTHON=3.12
FROM python:${PYTHON}-slim AS build

# A name of an index below https://download.pytorch.org/whl/: cpu, cu126, cu128, ...
ARG DEVICE=cpu

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH

# On its own, and first: it is most of the image, and changes least.
RUN pip install "torch>=2.8,<2.14" "torchaudio>=2.8" \
    --index-url "https://download.pytorch.org/whl/${DEVICE}"

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY insidessl_dash insidessl_dash
COPY assets assets
COPY precomputed precomputed
RUN pip install .


FROM python:${PYTHON}-slim

LABEL org.opencontainers.image.title="insidessl_dash" \
      org.opencontainers.image.licenses="Apache-2.0"

# /data exists, and belongs to the user, before a volume is mounted there: a new named volume
# takes its owner from the image.
RUN useradd --uid 1000 --create-home --shell /usr/sbin/nologin insidessl \
    && install -d -o insidessl -g insidessl -m 0750 /data
COPY --from=build /opt/venv /opt/venv

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HF_HOME=/data/huggingface \
    INSIDESSL_HOME=/data \
    INSIDESSL_HOST=0.0.0.0 \
    INSIDESSL_PORT=8050

USER insidessl
WORKDIR /data
VOLUME /data
EXPOSE 8050

# As Ctrl-C does: jobs under way are recorded, and found again at the next start.
STOPSIGNAL SIGINT

HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['INSIDESSL_PORT'] + '/api/v1/health', timeout=4)"]

CMD ["insidessl-dash", "serve", "--no-browser"]
