// The WebSocket to the server: opened again when it is lost. See contextface_ros/viewer/protocol.py.

const RETRY_MS = [500, 1000, 2000, 4000];
const POSE = 1, PICTURE = 2;

export class Link {
  /** listener: onPose(time, weights), onPicture(blob), onMessage(object), onOpen(), onLost(words). */
  constructor(listener) {
    this.listener = listener;
    this.failures = 0;
    this.reason = ""; // why the connection was lost, as the server said
    this.open();
  }

  open() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    this.socket = new WebSocket(`${scheme}//${location.host}/link`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = ({ data }) => this.receive(data);
    this.socket.onclose = ({ reason }) => {
      const wait = RETRY_MS[Math.min(this.failures++, RETRY_MS.length - 1)];
      this.reason = reason || this.reason || "The connection to the robot is lost. Trying again.";
      this.listener.onLost(this.reason);
      setTimeout(() => this.open(), wait);
    };
  }

  receive(data) {
    if (typeof data === "string") {
      const message = JSON.parse(data);
      if (message.type === "hello") {
        this.failures = 0;
        this.reason = "";
        this.listener.onOpen();
      }
      this.listener.onMessage(message);
      return;
    }
    const view = new DataView(data);
    if (view.getUint8(0) === POSE) {
      const steps = new Uint16Array(data, 8);
      this.listener.onPose(view.getUint32(4, true), Float32Array.from(steps, (step) => step / 65535));
    } else if (view.getUint8(0) === PICTURE) {
      this.listener.onPicture(new Blob([new Uint8Array(data, 8)], { type: "image/jpeg" }));
    }
  }

  /** Sends an object; whether that was possible. */
  send(message) {
    if (this.socket.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }
}
