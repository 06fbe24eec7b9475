// Waveform and spectrogram of a decoded sound, on canvases. Both are drawn on the same scales for
// every sound of an example: amplitude as the original's, power in dB below full scale.
(function () {
  "use strict";
  const page = window.insidessl;
  const SIZE = 512; // 32 ms at 16 kHz
  const HOP = 160;
  const FLOOR_DB = -95;
  const TOP_DB = -25;
  const hann = Float32Array.from({ length: SIZE }, (_x, n) => {
    return 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / SIZE);
  });
  const turns = Array.from({ length: SIZE / 2 }, (_x, k) => (-2 * Math.PI * k) / SIZE);
  const cosines = Float32Array.from(turns, Math.cos);
  const sines = Float32Array.from(turns, Math.sin);
  const FULL = SIZE / 4; // magnitude of a sine of full scale under this window

  // Power spectrum by a radix-2 transform, in place; re and im are SIZE long.
  function transform(re, im) {
    for (let i = 1, j = 0; i < SIZE; i += 1) {
      let bit = SIZE >> 1;
      for (; j & bit; bit >>= 1) j ^= bit;
      j ^= bit;
      if (i < j) {
        const kept = re[i]; // the imaginary parts are all zero here
        re[i] = re[j];
        re[j] = kept;
      }
    }
    for (let span = 2; span <= SIZE; span <<= 1) {
      for (let k = 0; k < span / 2; k += 1) {
        const c = cosines[(k * SIZE) / span];
        const s = sines[(k * SIZE) / span];
        for (let i = k; i < SIZE; i += span) {
          const j = i + span / 2;
          const x = re[j] * c - im[j] * s;
          const y = re[j] * s + im[j] * c;
          re[j] = re[i] - x;
          im[j] = im[i] - y;
          re[i] += x;
          im[i] += y;
        }
      }
    }
  }

  // Levels from 0 (FLOOR_DB) to 1 (TOP_DB), frame after frame, low frequencies first.
  function spectrogram(samples) {
    const frames = Math.max(1, 1 + Math.floor((samples.length - SIZE) / HOP));
    const levels = new Float32Array((frames * SIZE) / 2);
    const re = new Float32Array(SIZE);
    const im = new Float32Array(SIZE);
    for (let frame = 0; frame < frames; frame += 1) {
      for (let n = 0; n < SIZE; n += 1) re[n] = (samples[frame * HOP + n] || 0) * hann[n];
      im.fill(0);
      transform(re, im);
      for (let k = 0; k < SIZE / 2; k += 1) {
        const power = (re[k] * re[k] + im[k] * im[k]) / (FULL * FULL);
        const db = 10 * Math.log10(power + 1e-18);
        const level = (db - FLOOR_DB) / (TOP_DB - FLOOR_DB);
        levels[(frame * SIZE) / 2 + k] = Math.min(1, Math.max(0, level));
      }
    }
    return { frames, levels };
  }

  // The colours of the heatmaps in 256 steps, as a canvas keeps them.
  function shades(style) {
    const stops = [...Array(9).keys()].map((k) => {
      const hex = style.getPropertyValue(`--v${k}`).trim();
      return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    });
    const bytes = new Uint8ClampedArray(4 * 256).fill(255);
    for (let step = 0; step < 256; step += 1) {
      const place = (step / 255) * (stops.length - 1);
      const under = Math.min(Math.floor(place), stops.length - 2);
      stops[under].forEach((low, c) => {
        bytes[4 * step + c] = low + (place - under) * (stops[under + 1][c] - low);
      });
    }
    return new Uint32Array(bytes.buffer);
  }

  function sized(canvas) {
    const scale = window.devicePixelRatio || 1;
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * scale));
    canvas.height = Math.max(1, Math.round(canvas.clientHeight * scale));
    return canvas.getContext("2d");
  }

  function drawWave(canvas, samples, peak, ink) {
    const pen = sized(canvas);
    const middle = canvas.height / 2;
    pen.fillStyle = ink;
    for (let x = 0; x < canvas.width; x += 1) {
      const from = Math.floor((x * samples.length) / canvas.width);
      const to = Math.max(from + 1, Math.floor(((x + 1) * samples.length) / canvas.width));
      let [low, high] = [0, 0];
      for (let n = from; n < to; n += 1) {
        low = Math.min(low, samples[n]);
        high = Math.max(high, samples[n]);
      }
      const up = middle - (Math.min(high, peak) / peak) * middle;
      const down = middle - (Math.max(low, -peak) / peak) * middle;
      pen.fillRect(x, up, 1, Math.max(1, down - up));
    }
  }

  function drawSpectrum(canvas, samples, colours) {
    const { frames, levels } = spectrogram(samples);
    const bins = SIZE / 2;
    const image = new ImageData(frames, bins);
    const pixels = new Uint32Array(image.data.buffer);
    for (let frame = 0; frame < frames; frame += 1) {
      for (let k = 0; k < bins; k += 1) {
        const level = Math.round(255 * levels[frame * bins + k]);
        pixels[(bins - 1 - k) * frames + frame] = colours[level];
      }
    }
    const small = new OffscreenCanvas(frames, bins);
    small.getContext("2d").putImageData(image, 0, 0);
    const pen = sized(canvas);
    pen.imageSmoothingQuality = "high";
    pen.drawImage(small, 0, 0, canvas.width, canvas.height);
  }

  page.soundViews = function (buffer, original, wave, spectrum) {
    const style = getComputedStyle(document.documentElement);
    const samples = buffer.getChannelData(0);
    const peak = original.getChannelData(0).reduce((most, x) => Math.max(most, Math.abs(x)), 1e-4);
    drawWave(wave, samples, 1.1 * peak, style.getPropertyValue("--ink"));
    drawSpectrum(spectrum, samples, shades(style));
  };
})();
