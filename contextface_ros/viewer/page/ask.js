// The box in which one types what somebody says, or what happens.

import { showTrouble } from "./panel.js";

const PLACEHOLDERS = {
  quote: "You came all this way for me?",
  situation: "Her brother stands at the door, after nine years abroad.",
};
const PATIENCE_MS = 90_000; // the server answers long before, whatever the agent does

export class Ask {
  constructor(form, send) {
    this.form = form;
    this.send = send;
    this.text = form.querySelector("textarea");
    this.number = 0;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    form.addEventListener("change", () => this.describe());
    this.text.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      form.requestSubmit();
    });
    this.describe();
  }

  get kind() {
    return this.form.elements.kind.value;
  }

  describe() {
    this.text.placeholder = PLACEHOLDERS[this.kind];
  }

  submit() {
    if (this.timer) return;
    const text = this.text.value.trim();
    if (!text) {
      showTrouble("There is nothing to send yet: type what is said, or what happens.");
      this.text.focus();
      return;
    }
    showTrouble("");
    const perspective = this.form.elements.perspective.value;
    const sent = this.send({ type: "ask", number: ++this.number, [this.kind]: text, perspective });
    if (!sent) showTrouble("There is no connection to the robot, so nothing was sent.");
    else this.busy(true);
  }

  /** Takes the server's word on what was asked. */
  answered({ number, trouble }) {
    if (number !== this.number) return;
    this.busy(false);
    showTrouble(trouble);
    if (!trouble) this.text.select();
  }

  lost() {
    if (!this.timer) return;
    this.busy(false);
    showTrouble("The connection was lost before the answer came: send it again.");
  }

  busy(is) {
    clearTimeout(this.timer);
    this.timer = is ? setTimeout(() => this.lost(), PATIENCE_MS) : 0;
    this.form.classList.toggle("busy", is);
    this.form.setAttribute("aria-busy", String(is));
    const button = this.form.querySelector("button");
    button.disabled = is;
    button.textContent = is ? "Thinking" : "Send";
  }
}
