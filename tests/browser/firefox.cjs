// The page in Firefox: a digit is drawn, read, taught and taken back. `node firefox.cjs ADDRESS FIREFOX`

const assert = require("node:assert");
const puppeteer = require("puppeteer-core"); // it drives Firefox with WebDriver BiDi, without a driver of its own

const SEVEN = [[26, 18], [48, 17], [72, 15], [62, 36], [52, 60], [45, 88]]; // hundredths of the paper
const MOST = 30_000; // milliseconds

async function main(address, executablePath) {
  const browser = await puppeteer.launch({ browser: "firefox", executablePath });
  try {
    const page = await browser.newPage();
    const mistakes = [];
    page.on("pageerror", (error) => mistakes.push(String(error)));
    await page.goto(address);
    const version = Number(await until(page, "#version", /^[0-9]+$/));
    await draw(page);
    const before = await until(page, "#answer[aria-busy='false']", /^It is 7: /);
    await (await page.$("#classes button[value='1']")).click();
    await until(page, "#lesson", new RegExp(`^Version ${version + 1}: 1 was .*, is `));
    assert.notEqual(await until(page, "#answer[aria-busy='false']", /^It is /), before);
    await (await page.$("#lessons li:first-child button")).click();
    await until(page, "#lessons-text", new RegExp(`^1 is taken back: version ${version + 2} is without it`));
    await until(page, "#answer[aria-busy='false']", new RegExp(`^${before}$`));
    assert.deepEqual(mistakes, []);
    console.log(`Firefox ${await browser.version()}: ${before}`);
  } finally {
    await browser.close();
  }
}

async function draw(page) {
  const box = await (await page.$("#pad")).boundingBox();
  const places = SEVEN.map(([x, y]) => [box.x + (x * box.width) / 100, box.y + (y * box.height) / 100]);
  await page.mouse.move(...places[0]);
  await page.mouse.down();
  for (const place of places) await page.mouse.move(...place);
  await page.mouse.up();
}

/** The text of an element, once there is such an element and its text is such. */
async function until(page, selector, pattern) {
  const end = Date.now() + MOST;
  let text;
  while (Date.now() < end) {
    text = await page.evaluate((selector) => document.querySelector(selector)?.textContent, selector);
    if (text && pattern.test(text)) return text;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${selector} says ${text}: expected ${pattern}`);
}

main(...process.argv.slice(2));
