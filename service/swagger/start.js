// The OpenAPI document as a page: groups in the order in which they are needed, one answer for all errors.

const KEY = "twolayernet-key"; // the playground's, of this tab
const GROUPS = [
  ["prediction", "Predict", "Labels and probabilities of images; how well labelled images are recognised."],
  ["learning", "Teach", "Train-steps, and what takes them back; the examples that were learnt."],
  ["predictions", "Label later", "Predictions that were kept for a label."],
  ["labels", "Wrong labels", "Labels that are probably wrong, and their images."],
  ["versions", "Versions", "The log, newest first."],
  ["weights", "Weights", "The model as a file, out of the service and into it."],
  ["progress", "Progress", "How well it does, and whether it learns."],
  ["health", "Health", "Whether it lives, and whether it can serve."],
  ["metrics", "Metrics", "For Prometheus."],
  ["inference", "Open Inference Protocol", "For clients of KServe, Triton and MLServer."],
];

const titles = new Map(GROUPS.map(([tag, title]) => [tag, title]));

/** What is shown of an operation. */
function shown(operation) {
  const errors = Object.keys(operation.responses).filter((status) => /^[45]/.test(status));
  for (const status of errors) delete operation.responses[status];
  if (operation.responses.default) operation.responses.default = { ...operation.responses.default, description: `Errors: ${errors.join(", ")}` };
  operation.tags = operation.tags.map((tag) => titles.get(tag) ?? tag);
  if (operation.security?.some((one) => !Object.keys(one).length)) delete operation.security; // no key is asked for
  return operation;
}

async function start() {
  const spec = await (await fetch("openapi.json")).json();
  for (const path of Object.values(spec.paths)) Object.values(path).forEach(shown);
  spec.tags = GROUPS.map(([, name, description]) => ({ name, description }));
  let key = "";
  try {
    key = sessionStorage.getItem(KEY) ?? "";
  } catch {
    // storage is denied: the key is typed here
  }
  const ui = SwaggerUIBundle({
    spec,
    dom_id: "#swagger-ui",
    deepLinking: true,
    defaultModelsExpandDepth: -1,
    docExpansion: "list",
    onComplete: () => key && ui.preauthorizeApiKey("key", key),
  });
}

const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();
start();
