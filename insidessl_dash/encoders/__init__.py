"""One interface over every model: waveforms in, all layers out."""

from insidessl_dash.encoders.base import Encoder
from insidessl_dash.encoders.loading import load_encoder

__all__ = ["Encoder", "load_encoder"]
