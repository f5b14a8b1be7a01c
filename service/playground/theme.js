// Dark or light: the other one of what the system says.

import { $ } from "./dom.js";

$("#theme").addEventListener("click", () => {
  const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.classList.toggle(isDark ? "light" : "dark");
});
