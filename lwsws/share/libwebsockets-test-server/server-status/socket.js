// A WebSocket to the server of this page that comes back by itself, and shows how it is.
//
//   const socket = new Socket("lws-echo", document.querySelector("#echo .state"), {
//     received: (text) => { ... },
//   });
//   socket.open();

const FIRST_DELAY = 1000; // ms before the first try to come back; doubled with each that fails
const LAST_DELAY = 30000;
const REFUSED = 1008; // close code of a policy: the next try would end the same way
const STEADY = 5000; // ms of being open after which the next loss is the first again

export class Socket {
  #protocol;
  #place;
  #handlers;
  #query;
  #socket = null;
  #isWanted = false;
  #delay = FIRST_DELAY;
  #timer = 0;
  #openedAt = 0;

  // `place` is the element that shows the state. Of the handlers received(text), opened() and
  // closed() each may be left out. `query` is that of the URL.
  constructor(protocol, place, handlers, query = "") {
    this.#protocol = protocol;
    this.#place = place;
    this.#handlers = handlers;
    this.#query = query;
    // No point in waiting on once the network, or the user, is back.
    addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.#hurry());
  }

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  open() {
    this.#isWanted = true;
    this.#delay = FIRST_DELAY;
    this.#connect();
  }

  // Close it, and let it stay closed. The code is 1000 or from 3000 to 4999.
  close(code = 1000) {
    this.stayClosed();
    this.#socket?.close(code);
  }

  // The server was asked to close it: that shall not be mistaken for a loss.
  stayClosed() {
    this.#isWanted = false;
    clearTimeout(this.#timer);
  }

  // Whether it could be sent.
  send(text) {
    if (this.isOpen) {
      this.#socket.send(text);
    }
    return this.isOpen;
  }

  #connect() {
    clearTimeout(this.#timer);
    if (this.#socket) {
      return;
    }
    this.#show("connecting", "connecting");
    const url = new URL(`/${this.#query}`, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url, this.#protocol);
    this.#socket = socket;
    socket.onopen = () => {
      this.#openedAt = performance.now();
      this.#show("open", socket.extensions ? "open, compressed" : "open");
      this.#handlers.opened?.();
    };
    socket.onmessage = (event) => this.#handlers.received?.(event.data);
    socket.onclose = (event) => this.#lost(event);
  }

  #lost({ code, reason }) {
    this.#socket = null;
    const how = reason ? `closed: ${code} “${reason}”` : `closed: ${code}`;
    if (this.#isWanted && code !== REFUSED) {
      this.#comeBack(how);
    } else {
      this.#show("closed", how);
    }
    this.#handlers.closed?.();
  }

  #comeBack(how) {
    if (this.#openedAt && performance.now() - this.#openedAt > STEADY) {
      this.#delay = FIRST_DELAY;
    }
    this.#openedAt = 0;
    // A little by chance, so that after a restart not everybody comes at the same moment.
    const delay = Math.min(this.#delay * (1 + Math.random() / 4), LAST_DELAY);
    this.#show("waiting", `${how}, next try in ${Math.round(delay / 1000)} s`);
    this.#timer = setTimeout(() => this.#connect(), delay);
    this.#delay = Math.min(2 * this.#delay, LAST_DELAY);
  }

  #hurry() {
    if (this.#isWanted) {
      this.#connect();
    }
  }

  #show(state, text) {
    this.#place.dataset.state = state;
    this.#place.textContent = text;
  }
}
