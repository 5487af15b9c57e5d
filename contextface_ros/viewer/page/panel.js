// What stands beside the head. Texts of people enter the page as textContent alone.

const EMOTIONS = ["Angry", "Sad", "Surprise", "Neutral", "Fear", "Happy", "Disgust"];
const KEPT = 50; // entries of the transcript

const at = (id) => document.getElementById(id);

function element(kind, text, name) {
  const made = document.createElement(kind);
  if (text !== undefined) made.textContent = text;
  if (name) made.className = name;
  return made;
}

/** Draws the seven bars, empty. */
export function prepareBars() {
  for (const emotion of EMOTIONS) {
    const row = element("li");
    row.dataset.emotion = emotion;
    const bar = element("span", undefined, "bar");
    bar.append(element("span", undefined, "filled"));
    row.append(element("span", emotion, "name"), bar, element("span", "", "share"));
    at("bars").append(row);
  }
}

/** Shows the newest answer, and enters it into the transcript. */
export function showAnswer(answer) {
  document.body.dataset.emotion = answer.label;
  at("label").textContent = answer.label;
  at("said").textContent = answer.quote ? `“${answer.quote}”` : answer.situation;
  at("latency").textContent = answer.latency_ms === null ? "" : `answered in ${time(answer.latency_ms)}`;
  for (const [k, row] of [...at("bars").children].entries()) {
    const share = answer.probabilities[k];
    row.querySelector(".filled").style.transform = `scaleX(${share})`;
    row.querySelector(".share").textContent = `${Math.round(100 * share)} %`;
    row.classList.toggle("first", row.dataset.emotion === answer.label);
  }
  at("transcript").prepend(entry(answer));
  while (at("transcript").children.length > KEPT) at("transcript").lastChild.remove();
  at("nothing-yet").hidden = true;
}

export function clearTranscript() {
  at("transcript").replaceChildren();
}

function entry(answer) {
  const made = element("li");
  made.dataset.emotion = answer.label;
  const head = element("p", undefined, "entry-head");
  const when = element("time", new Date(answer.time_ms).toLocaleTimeString());
  when.dateTime = new Date(answer.time_ms).toISOString();
  const whose = answer.perspective === "listener" ? "listener's face" : "";
  head.append(element("strong", answer.label), when, element("span", whose));
  made.append(head);
  if (answer.quote) made.append(element("p", `“${answer.quote}”`));
  if (answer.situation) made.append(element("p", answer.situation, "situation"));
  return made;
}

function time(ms) {
  return ms < 995 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

const AGENT = {
  ready: "agent", thinking: "agent, thinking", listening: "agent, listening", absent: "no agent",
};
const FACE = { moving: "face, moving", still: "face, still", none: "no face yet" };

/** Shows what is there: agent, face and camera. */
export function showStatus(status) {
  chip("agent", AGENT[status.agent], status.agent !== "absent");
  chip("face", FACE[status.face], status.face === "moving");
  chip("camera", status.camera ? "camera" : "no camera", status.camera);
  at("camera-card").hidden = !status.camera;
  at("camera-note").textContent = status.camera_note;
  at("face-note").textContent = status.face_note;
  at("face-note").hidden = !status.face_note;
}

function chip(id, text, good) {
  at(id).textContent = text;
  at(id).classList.toggle("good", good);
}

let pictureUrl = "";

export function showPicture(blob) {
  const url = URL.createObjectURL(blob);
  at("picture").src = url;
  URL.revokeObjectURL(pictureUrl);
  pictureUrl = url;
}

/** Says what went wrong, or with "" that nothing does. */
export function showTrouble(words) {
  at("trouble").textContent = words;
  at("trouble").hidden = !words;
}

/** Says that the connection is lost, or with "" that it is there. */
export function showLost(words) {
  at("lost").textContent = words;
  at("lost").hidden = !words;
}

export function showNoHead(words) {
  at("no-head").textContent = words;
  at("no-head").hidden = false;
}
