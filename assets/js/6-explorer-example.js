// An example of the audio explorer: what its sounds are called, where they are, and their scores.
// A sound is "original", "vocoder", or "i/j": decoder and token layer, by place in the layers.
(function () {
  "use strict";
  const page = window.insidessl;

  // A number with the places that the rest of the page gives it (figures/points.py).
  function number(value) {
    const size = Math.abs(value);
    return value.toFixed(size < 10 ? 3 : size < 1000 ? 1 : 0).replace("-", "−");
  }

  page.explorerExample = function (header, found) {
    const { layers } = found;
    let { metrics, done } = found; // `done`: of a matrix that is being decoded, the rows there are
    const row = (i) => found.decoder_layers.indexOf(layers[i]);
    const isCell = (sound) => sound.includes("/");

    function titled(sound) {
      if (!isCell(sound)) return sound === "original" ? "Original" : "Vocoder only";
      const [i, j] = sound.split("/");
      return `D(${layers[i]}) · z(${layers[j]})`;
    }

    const example = {
      ...found,
      ...header,
      rows: layers.map((_layer, i) => i).filter((i) => row(i) >= 0),
      isCell,
      titled,
      hasCell: (i, j) => row(i) >= 0 && layers[j] !== undefined,
      pending: (sound) =>
        isCell(sound) && done !== undefined && !done.includes(layers[sound.split("/")[0]]),

      // Rows have been decoded since.
      take(more) {
        ({ metrics, done } = more);
        Object.assign(example, { metrics, done });
      },

      spoken(sound) {
        if (!isCell(sound)) return titled(sound);
        const [i, j] = sound.split("/");
        return `Decoder ${layers[i]}, tokens of layer ${layers[j]}`;
      },

      // undefined where a metric says nothing of a sound, null where it could not be measured
      score(metric, sound) {
        if (sound === "original") return undefined;
        if (sound === "vocoder") return metrics[metric].vocoder;
        const [i, j] = sound.split("/");
        return metrics[metric].cells[row(i)][j];
      },

      // Why a cell has no value; "" where it has one, or nobody wrote it down.
      reason(metric, sound) {
        if (!isCell(sound) || example.pending(sound)) return "";
        const [i, j] = sound.split("/");
        return metrics[metric].why.length ? metrics[metric].why[row(i)][j] : "";
      },

      valued(metric, value) {
        if (value === null) return "not measurable";
        const unit = metrics[metric].unit;
        return number(value) + (unit ? ` ${unit}` : "");
      },

      place: (sound) => ({
        base: `${header.url}/${isCell(sound) ? `cells/${sound}` : sound}`,
        version: found.version,
      }),
    };
    return example;
  };
})();
