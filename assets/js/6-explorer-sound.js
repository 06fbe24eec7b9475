// One sound at a time: fetching, decoding, playing, and switching between sounds at one position.
// A switch fades the old sound out and starts the new one when it is silent, so two never overlap.
(function () {
  "use strict";
  const page = window.insidessl;
  const RATE = 16000; // of the cells; decoded at this rate a sound takes a third of the memory
  const FADE_S = 0.006;
  const MOST = 96; // sounds kept decoded: 4 s each are 25 MB

  const kept = new Map(); // address -> promise of a buffer, the least recently used first
  let decoder = null;
  let context = null;
  let live = null; // what sounds: key, node, gain, begin (context time), from and length (s)
  let order = 0;

  async function fetched(address) {
    const response = await fetch(address);
    if (!response.ok) {
      throw new Error(page.message(await response.json().catch(() => null), response.status));
    }
    decoder = decoder || new OfflineAudioContext(1, 1, RATE);
    return decoder.decodeAudioData(await response.arrayBuffer());
  }

  // A browser that has no decoder for Opus gets the same sound as WAV.
  async function decoded(place) {
    if (place.lossless) return fetched(`${place.base}.wav?v=${place.version}`);
    try {
      return await fetched(`${place.base}.opus?v=${place.version}`);
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
      return fetched(`${place.base}.wav?v=${place.version}`);
    }
  }

  function load(place) {
    const name = `${place.base}?${place.version}`;
    const found = kept.get(name) || decoded(place);
    kept.delete(name);
    kept.set(name, found);
    found.catch(() => kept.delete(name));
    if (kept.size > MOST) kept.delete(kept.keys().next().value);
    return found;
  }

  // Only a visitor's gesture may start sound; the first one makes everything ready for it.
  function prepare() {
    context = context || new AudioContext({ latencyHint: "interactive" });
    if (context.state === "suspended") context.resume();
  }

  function position() {
    if (!live) return 0;
    const heard = context.currentTime - live.begin - (context.outputLatency || 0);
    return Math.min(live.length, live.from + Math.max(0, heard));
  }

  function hush(until) {
    const { node, gain } = live;
    live = null;
    gain.gain.cancelScheduledValues(context.currentTime);
    gain.gain.setValueAtTime(gain.gain.value, context.currentTime);
    gain.gain.linearRampToValueAtTime(0, until);
    node.onended = null;
    node.stop(until);
  }

  // `from`: seconds, or null to go on where the sound before it is.
  async function play(key, place, from) {
    const mine = (order += 1);
    prepare();
    const buffer = await load(place);
    if (mine !== order) return;
    const now = context.currentTime;
    const begin = live ? now + FADE_S : now;
    const wanted = from === null ? (live ? live.from + Math.max(0, begin - live.begin) : 0) : from;
    const offset = wanted < buffer.duration - 0.02 ? wanted : 0;
    if (live) hush(begin);
    const node = new AudioBufferSourceNode(context, { buffer });
    const gain = new GainNode(context, { gain: 0 });
    gain.gain.setValueAtTime(0, begin);
    gain.gain.linearRampToValueAtTime(1, begin + FADE_S);
    node.connect(gain).connect(context.destination);
    node.start(begin, offset);
    live = { key, node, gain, begin, from: offset, length: buffer.duration };
    node.onended = () => {
      if (!live || live.node !== node) return;
      live = null;
      page.sound.changed(null);
    };
    page.sound.changed(key);
  }

  function stop() {
    order += 1;
    if (!live) return;
    hush(context.currentTime + FADE_S);
    page.sound.changed(null);
  }

  page.sound = {
    load,
    play,
    stop,
    position,
    prepare,
    playing: () => (live ? live.key : null),
    changed() {},
  };
})();
