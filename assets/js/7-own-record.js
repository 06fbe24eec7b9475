// A recording from the microphone, made into a WAV file in the browser: 16 bit, one channel, at the
// rate that the microphone is heard at. Nothing leaves the browser before it is stopped.
(function () {
  "use strict";
  const page = window.insidessl;
  const WORKLET = "/assets/worklets/recorder-worklet.js";
  const SOUND = {
    audio: {
      channelCount: 1,
      echoCancellation: false, // what "improves" a call changes the voice
      noiseSuppression: false,
      autoGainControl: false,
    },
  };
  const WHY = {
    NotAllowedError:
      "The browser may not use the microphone: allow it for this page, or choose a file.",
    NotFoundError: "There is no microphone on this device: choose a file.",
    NotReadableError: "The microphone is in use by another program: close it, or choose a file.",
  };

  function wav(blocks, rate) {
    const count = blocks.reduce((sum, block) => sum + block.length, 0);
    const view = new DataView(new ArrayBuffer(44 + 2 * count));
    const text = (at, words) => [...words].forEach((c, k) => view.setUint8(at + k, c.charCodeAt(0)));
    text(0, "RIFF");
    view.setUint32(4, 36 + 2 * count, true);
    text(8, "WAVEfmt ");
    view.setUint32(16, 16, true);
    view.setUint16(20, 1, true); // PCM
    view.setUint16(22, 1, true); // channels
    view.setUint32(24, rate, true);
    view.setUint32(28, 2 * rate, true);
    view.setUint16(32, 2, true);
    view.setUint16(34, 16, true);
    text(36, "data");
    view.setUint32(40, 2 * count, true);
    let at = 44;
    for (const block of blocks) {
      for (const x of block) {
        view.setInt16(at, Math.round(32767 * Math.max(-1, Math.min(1, x))), true);
        at += 2;
      }
    }
    return new Blob([view], { type: "audio/wav" });
  }

  async function microphone() {
    if (!navigator.mediaDevices || !window.AudioWorkletNode) {
      throw new Error("Recording needs https or this machine’s own address: choose a file.");
    }
    try {
      return await navigator.mediaDevices.getUserMedia(SOUND);
    } catch (error) {
      throw new Error(WHY[error.name] || `The microphone cannot be used (${error.name}).`);
    }
  }

  // Record at most `most` seconds. `heard(seconds, level)` is called a few times a second, level
  // from 0 (60 dB below full scale) to 1. Gives {stop(), file}: a promise of a File.
  page.record = async function (most, heard) {
    const stream = await microphone();
    const context = new AudioContext();
    const close = () => {
      for (const track of stream.getTracks()) track.stop();
      context.close();
    };
    let node;
    try {
      await context.audioWorklet.addModule(WORKLET);
      await context.resume();
      node = new AudioWorkletNode(context, "insidessl-recorder", { numberOfOutputs: 0 });
    } catch (error) {
      close();
      throw new Error(`This browser cannot record (${error.name}): choose a file.`);
    }
    const blocks = [];
    let count = 0;
    let told = 0;
    let power = 0;
    let finish = () => {};
    const file = new Promise((done) => {
      finish = () => {
        node.port.onmessage = null;
        close();
        const at = new Date();
        const two = (x) => String(x).padStart(2, "0");
        const clock = [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join("-");
        const name = `recording ${clock}.wav`;
        done(new File([wav(blocks, context.sampleRate)], name, { type: "audio/wav" }));
      };
    });
    node.port.onmessage = ({ data }) => {
      blocks.push(data);
      count += data.length;
      power += data.reduce((sum, x) => sum + x * x, 0);
      const seconds = count / context.sampleRate;
      if (count - told >= context.sampleRate / 12) {
        const db = 10 * Math.log10(power / (count - told) + 1e-12);
        heard(seconds, Math.max(0, Math.min(1, 1 + db / 60)));
        [told, power] = [count, 0];
      }
      if (seconds >= most) finish();
    };
    for (const track of stream.getTracks()) track.addEventListener("ended", () => finish());
    context.createMediaStreamSource(stream).connect(node);
    return { stop: () => finish(), file };
  };
})();
