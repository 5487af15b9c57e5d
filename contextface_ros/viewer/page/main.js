// Puts the page together: the link brings poses, pictures and messages, each to where it is shown.

import { Ask } from "./ask.js";
import { HeadView } from "./head_view.js";
import { Link } from "./link.js";
import { fetchMesh } from "./mesh.js";
import { Morph } from "./morph.js";
import * as panel from "./panel.js";
import { PoseStream } from "./pose_stream.js";

const UNITS = 52;
const poses = new PoseStream(UNITS);

panel.prepareBars();
const ask = new Ask(document.getElementById("ask"), (message) => link.send(message));

const link = new Link({
  onPose: (time, weights) => poses.push(time, weights, performance.now()),
  onPicture: panel.showPicture,
  onOpen: () => {
    panel.showLost("");
    panel.clearTranscript();
  },
  onLost: (words) => {
    panel.showLost(words);
    ask.lost();
  },
  onMessage: (message) => {
    if (message.type === "answer") panel.showAnswer(message);
    else if (message.type === "status") panel.showStatus(message);
    else if (message.type === "asked") ask.answered(message);
  },
});

async function showHead() {
  const mesh = await fetchMesh("head.bin");
  const morph = new Morph(mesh);
  const view = new HeadView(document.getElementById("head"), morph, mesh);
  let shown = new Float32Array(UNITS);
  const frame = (nowMs) => {
    requestAnimationFrame(frame);
    const weights = poses.at(performance.now());
    if (weights.some((weight, k) => Math.abs(weight - shown[k]) > 1e-5)) {
      morph.show(weights);
      shown = weights;
      view.update();
    }
    view.draw(nowMs);
    document.body.dataset.head = "drawn";
  };
  requestAnimationFrame(frame);
}

showHead().catch((error) => panel.showNoHead(error.message));
