// The wall of models: its parts, each of which listens to what the others tell, and its language.

import { $ } from "./dom.js";
import { begin } from "./languages.js";
import { say } from "./say.js";
import { look, on } from "./state.js";
import "./notices.js";
import "./roster.js";
import "./cards.js";
import "./compare.js";
import "./make.js";
import "./more.js";
import "./theme.js";

/** Addresses that no other device can open are of no use on a sheet. */
function showHost() {
  const isOwn = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  $("#host-text").textContent = isOwn ? say("wall.own-host", { host: location.hostname }) : "";
}

on("language", showHost);
await begin();
look();
