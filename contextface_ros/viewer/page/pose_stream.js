// Poses as they arrive, and the pose of any time between them.

const DELAY_MS = 45; // behind what arrives, so that there is a pose on either side
const PAUSE_MS = 250; // after which a pose is no continuation: the face glides to it
const GLIDE_MS = 450;
const KEPT = 30;

export class PoseStream {
  constructor(size) {
    this.frames = []; // {time, weights}, of the sender's clock
    this.offset = Infinity; // of our clock from the sender's, with the shortest way between
    this.glide = { from: new Float32Array(size), start: -Infinity };
  }

  /** Takes a pose: the sender's time in ms and its weights, and our time in ms. */
  push(time, weights, now) {
    const last = this.frames.at(-1);
    if (!last || time < last.time || time > last.time + PAUSE_MS) {
      this.glide = { from: this.at(now), start: now };
      this.frames = [];
      this.offset = now - time;
    }
    // Slowly upwards, or a clock that drifts would be believed for ever.
    this.offset = Math.min(now - time, this.offset + 0.02);
    this.frames.push({ time, weights });
    if (this.frames.length > KEPT) this.frames.shift();
  }

  /** The weights to show now. */
  at(now) {
    const pose = this.between(now - this.offset - DELAY_MS);
    const share = (now - this.glide.start) / GLIDE_MS;
    return share < 1 ? mixed(this.glide.from, pose, share * share * (3 - 2 * share)) : pose;
  }

  between(time) {
    const frames = this.frames;
    if (!frames.length) return this.glide.from;
    let k = frames.length - 1;
    while (k > 0 && frames[k].time > time) k--;
    const before = frames[k], after = frames[k + 1];
    if (!after || time <= before.time) return before.weights;
    return mixed(before.weights, after.weights, (time - before.time) / (after.time - before.time));
  }
}

function mixed(before, after, share) {
  return before.map((weight, k) => weight + share * (after[k] - weight));
}
