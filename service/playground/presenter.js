// For a projector: large, without the lists, dark or light, and the address to be read by phones.

import { $ } from "./dom.js";
import { qr } from "./qr.js";
import { say } from "./say.js";
import { on } from "./state.js";
import "./theme.js";

const MARK = "#present";
const button = $("#present");

function show() {
  const presenting = location.hash === MARK;
  document.body.classList.toggle("presenting", presenting);
  button.textContent = say(presenting ? "present-end" : "present");
  const isOwn = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname); // which no phone can open
  const code = presenting && !isOwn ? qr(location.href.replace(/#.*/, "")) : null;
  $("#address").replaceChildren(...(code ? [code] : []));
}

button.addEventListener("click", () => {
  history.replaceState(null, "", location.hash === MARK ? location.pathname + location.search : MARK);
  show();
});
window.addEventListener("hashchange", show);
on("language", show);
