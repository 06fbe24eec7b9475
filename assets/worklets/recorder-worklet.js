// Hands the microphone's samples to the page, block by block, on the audio thread.
class Recorder extends AudioWorkletProcessor {
  process(inputs) {
    if (inputs[0].length) this.port.postMessage(inputs[0][0].slice());
    return true;
  }
}
registerProcessor("insidessl-recorder", Recorder);
