// Every call of a client, in JavaScript. `node examples/client.mjs http://127.0.0.1:8000`, in a folder that has digits.json,
// labelled.json and seven.png (docs/clients.md). Needs Node 18 or newer.

import { readFile } from "node:fs/promises";

const service = process.argv[2];
const key = process.env.TWOLAYERNET_API_KEY;
const digits = JSON.parse(await readFile("digits.json"));
const labelled = JSON.parse(await readFile("labelled.json"));

// A change has an Idempotency-Key, the same for every try, so it is applied once.
async function call(method, path, { headers = {}, body, tries = 6 } = {}) {
  headers = { "Idempotency-Key": crypto.randomUUID(), ...(key && { Authorization: `Bearer ${key}` }), ...headers };
  for (let attempt = 1; ; attempt++) {
    let pause = 0.1 * 2 ** attempt;
    try {
      const answer = await fetch(service + path, { method, headers, body });
      if (answer.ok) return answer;
      if (![429, 502, 503, 504].includes(answer.status) || attempt === tries) {
        const problem = await answer.json();
        throw Object.assign(new Error(problem.detail), { problem });
      }
      pause = Number(answer.headers.get("Retry-After") ?? pause);
    } catch (error) {
      if (error.problem || attempt === tries) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 1000 * pause));
  }
}

function json(value) {
  return { headers: { "Content-Type": "application/json" }, body: JSON.stringify(value) };
}

// Predict, measure, teach
const answer = await (await call("POST", "/predict", json(digits))).json();
console.log(answer.labels, "from version", answer.model_version);
const form = new FormData();
form.append("image", new Blob([await readFile("seven.png")], { type: "image/png" }), "seven.png");
console.log((await (await call("POST", "/predict", { body: form })).json()).labels);
console.log((await (await call("POST", "/accuracy", json(labelled))).json()).accuracy);
const step = await (await call("POST", "/train-step", json({ ...labelled, learning_rate: 0.01 }))).json();
console.log("version", step.model_version, "loss before the step", step.loss);

// Label later
const { prediction_ids } = await (await call("POST", "/predict?remember=true", json(digits))).json();
const queue = await (await call("GET", "/predictions?order=uncertain&limit=10")).json();
const image = await (await call("GET", `/predictions/${prediction_ids[0]}/image`)).blob();
await call("POST", "/train-step", json({ prediction_ids: prediction_ids.slice(0, 1), labels: [7] }));
await call("DELETE", `/predictions/${prediction_ids[1]}`);
console.log(queue.predictions.length, "unlabelled predictions; the image has", image.size, "bytes");

// Labels that are probably wrong
const { labels } = await (await call("GET", "/labels?order=suspicious&limit=3")).json();
const learnt = await (await call("GET", `/examples/${labels[0].model_version}/${labels[0].index}/image`)).blob();
console.log(labels[0].label, "or", labels[0].predicted, "by", labels[0].source, learnt.size);

// Pause, resume, watch, go back
await call("PUT", "/learning", json({ state: "paused" }));
await call("PUT", "/learning", json({ state: "learning" }));
console.log((await (await call("GET", "/learning")).json()).windows[0].accuracy);
const { versions, next_before } = await (await call("GET", "/versions?limit=2")).json();
console.log(versions[0].kind, next_before);
const back = await (await call("POST", "/rollback", json({ model_version: 1 }))).json();
console.log("version", back.model_version, "has the weights of version", back.source_version);

// Correct a label, and take a lesson out again
const lesson = json({ ...labelled, source: "examples/client.mjs" });
const taught = (await (await call("POST", "/train-step", lesson)).json()).model_version;
await call("POST", "/relabel", json({ model_version: taught, labels: labelled.labels.map(() => 7) }));
const without = await (await call("POST", "/unlearn", json({ model_versions: [taught] }))).json();
console.log("version", without.model_version, "is without", without.unlearned);

// Add a class, and go back to those that there were
const grown = await (await call("POST", "/classes", json({}))).json();
console.log(grown.classes, "classes");
await call("POST", "/rollback", json({ model_version: grown.model_version - 1 }));

// Weights out and in, examples out
const weights = await call("GET", "/weights");
const put = { headers: { "If-Match": weights.headers.get("ETag") }, body: await weights.arrayBuffer() };
console.log((await (await call("PUT", "/weights", put)).json()).kind);
const examples = await call("GET", "/examples?after=0&limit=1000");
console.log((await examples.arrayBuffer()).byteLength, examples.headers.get("X-Oldest-Model-Version"));

// Another model, which learns by itself, with a key of its own, and is then set aside
const name = `copy-${crypto.randomUUID().slice(0, 8)}`;
try {
  await call("PUT", `/models/${name}`, json({ copy_of: "default" }));
  const { key } = await (await call("POST", `/models/${name}/key`)).json();
  console.log(name, "has a key of", key.length, "characters");
  console.log((await (await call("GET", `/models/${name}`)).json()).bytes, "bytes");
  console.log((await (await call("GET", "/models?limit=3")).json()).models.length, "models");
  await call("DELETE", `/models/${name}`);
} catch ({ problem }) {
  if (problem?.type !== "urn:twolayernet:problem:no-models") throw new Error(problem?.detail);
  console.log("no other model:", problem.detail);
}

// A mistake
try {
  await call("POST", "/predict", json({ images: [[0, 0.5, 1]] }));
} catch ({ problem }) {
  console.log(problem.status, problem.detail, problem.errors[0].loc);
}
