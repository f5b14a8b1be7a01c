// The request behind the answer, with this drawing as its body.

import { pad } from "./answer.js";
import { $ } from "./dom.js";
import { key } from "./http.js";
import { dataUrl } from "./picture.js";
import { say } from "./say.js";
import { on } from "./state.js";

const panel = $("#code-panel");
const choice = $("#code-language");
const text = $("#code");

const address = () => new URL("predict", document.baseURI).href;

/** @type {Record<string, (body: string) => string>} */
const WRITTEN = {
  curl: (body) =>
    `curl -sS -H 'Content-Type: application/json'${key.given ? ` -H "Authorization: Bearer $KEY"` : ""} -d '${body}' ${address()}\n`,
  python: (body) =>
    `import json${key.given ? ", os" : ""}\nimport urllib.request\n\nheaders = {"Content-Type": "application/json"}\n` +
    (key.given ? `headers["Authorization"] = f"Bearer {os.environ['KEY']}"\n` : "") +
    `body = '${body}'\nrequest = urllib.request.Request("${address()}", body.encode(), headers)\n` +
    `answer = json.load(urllib.request.urlopen(request))\nprint(answer["labels"], answer["model_version"])\n`,
  javascript: (body) =>
    `const headers = { "Content-Type": "application/json"${key.given ? ", Authorization: `Bearer ${process.env.KEY}`" : ""} };\n` +
    `const body = '${body}';\nconst answer = await fetch("${address()}", { method: "POST", headers, body });\n` +
    `const { labels, model_version } = await answer.json();\nconsole.log(labels, model_version);\n`,
};

async function show() {
  if (!panel.open) return;
  if (!pad.ready) {
    text.textContent = say("teach-hint");
    return;
  }
  const { drawn, polarity } = pad;
  const image = await dataUrl(await pad.blob());
  if (drawn !== pad.drawn) return;
  text.textContent = WRITTEN[choice.value](JSON.stringify(polarity ? { image, polarity } : { image }));
}

$("#copy").addEventListener("click", async () => {
  await navigator.clipboard?.writeText(text.textContent).catch(() => {});
  getSelection()?.selectAllChildren(text);
});
choice.addEventListener("change", show);
panel.addEventListener("toggle", show);
on("answer", show);
