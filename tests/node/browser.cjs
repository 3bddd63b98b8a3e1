// Walks through the operators' page in a Chromium: with scripts off, then with scripts on. Every page and every button is used as a
// person would; each page is judged by html-validate and by axe, at both colour schemes, and looked at for what a phone has to scroll
// sideways. Ends with 1 and says what is wrong.
//
//   node browser.cjs <chromium>
//
// Standard input: {origin, operator, viewer, walks: [{scripts, prompt, shut, replica, done, running, held, failed, retried, discarded}…]}
'use strict';
const fs = require('fs');
const puppeteer = require('puppeteer-core');
const axe = require('axe-core');
const { HtmlValidate } = require('html-validate');

const { origin, operator, viewer, walks } = JSON.parse(fs.readFileSync(0, 'utf8'));
const PAGES = ['/', '/running', '/results', '/failures', '/providers'];
/** Those that the foot of every page leads to. */
const MORE = ['/callbacks', '/actions'];
/** What is wrong is said at once, as whoever waits for the end may give up before. */
const wrong = new Set();
const fault = (text) => {
  if (!wrong.has(text)) console.error(text);
  wrong.add(text);
};
const foreign = new Set();
const judged = new Set();
/** Titles of pages that axe has seen, once each as it takes half a second. */
const looked = new Set();

const validator = new HtmlValidate({
  extends: ['html-validate:recommended'],
  rules: {
    // As they are made: elements without an end tag have none, and what stands on one line stays there.
    'void-style': ['error', { style: 'omit' }],
    'no-trailing-whitespace': 'off',
    // Script and style stand in the page, so that it is one answer, under a policy that names them.
    'require-sri': 'off',
  },
});

/** A page that does what a person does, and judges what it gets. */
class Visit {
  constructor(page, hasScripts) {
    Object.assign(this, { page, hasScripts });
  }

  async judge(html) {
    const kind = new URL(this.page.url()).pathname.replace(/\d+/g, 'N').replace(/failures\/[^/]+/, 'failures/G');
    const name = `${kind} (${await this.page.title()}), ${this.hasScripts ? 'with' : 'without'} scripts`;
    if (judged.has(name)) return;
    judged.add(name);
    for (const result of (await validator.validateString(html)).results) {
      for (const { line, column, message, ruleId } of result.messages) {
        fault(`${name}: ${line}:${column} ${message} (${ruleId}): ${html.split('\n')[line - 1].slice(Math.max(0, column - 60), column + 90)}`);
      }
    }
    // Without scripts the page is the same one, and what changes have come to is said on one kind of page.
    const title = await this.page.title();
    const schemes = this.hasScripts && !looked.has(title) ? ['light', 'dark'] : [];
    if (this.hasScripts) looked.add(title);
    for (const scheme of schemes) {
      await this.page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
      if (!(await this.page.evaluate(() => 'axe' in window))) await this.page.evaluate(axe.source);
      // What else there is does not depend on colours.
      const only = scheme === 'dark' ? { runOnly: ['color-contrast'] } : {};
      const found = await this.page.evaluate((rules) => window.axe.run(document, { resultTypes: ['violations'], ...rules }), only);
      for (const { id, help, nodes } of found.violations) {
        for (const node of nodes) fault(`${name}, ${scheme}: ${help} (${id}): ${node.html} ${node.failureSummary}`);
      }
    }
    await this.page.emulateMediaFeatures([]);
    const whole = this.page.viewport();
    await this.page.setViewport({ width: 375, height: 812 });
    const [needs, has, parts] = await this.page.evaluate(() => [
      document.documentElement.scrollWidth, window.innerWidth,
      [...document.querySelectorAll('section, .wide, table')].filter((part) => part.scrollWidth > part.clientWidth + 1)
        .map((part) => part.querySelector('caption')?.textContent ?? part.id),
    ]);
    if (needs > has) fault(`${name}: a phone of ${has} px has to scroll sideways, to ${needs} px`);
    for (const part of parts) fault(`${name}: on a phone of ${has} px "${part}" has to be scrolled sideways`);
    await this.page.setViewport(whole);
  }

  /** What `deed` leads to. */
  async lead(deed, status = 200) {
    const [answer] = await Promise.all([this.page.waitForNavigation({ waitUntil: 'load' }), deed()]);
    if (answer.status() !== status) throw new Error(`${answer.url()}: ${answer.status()}: ${await this.text()}`);
    await this.judge(await answer.text());
  }

  go(path) {
    return this.lead(() => this.page.goto(`${origin}${path}`));
  }

  press(selector, status) {
    return this.lead(() => this.page.click(selector), status);
  }

  /** Presses the button or link that says so. */
  async pressed(words, status) {
    const all = await this.page.$$('a, button');
    for (const each of all) {
      const said = await each.evaluate((element) => element.textContent.trim());
      if (said === words) return this.lead(() => each.click(), status);
    }
    throw new Error(`${this.page.url()}: nothing to press says "${words}": ${await this.text()}`);
  }

  async type(selector, text) {
    await this.page.click(selector, { clickCount: 3 });
    await this.page.type(selector, text);
  }

  text() {
    return this.page.evaluate(() => document.body.textContent);
  }

  async says(words) {
    const text = await this.text();
    if (!text.includes(words)) throw new Error(`${this.page.url()}: "${words}" is missing in: ${text}`);
  }

  async logIn(token) {
    await this.type('#token', token);
    await this.pressed('Log in');
  }

  /** The failures of a cause, by their provider and a word of their sentence. */
  async cause({ provider, word }) {
    await this.go('/failures');
    const rows = await this.page.$$('tr[data-group]');
    for (const row of rows) {
      const said = await row.evaluate((element) => element.textContent);
      if (said.includes(provider) && said.includes(word)) return this.lead(async () => (await row.$('a')).click());
    }
    throw new Error(`no failures of ${provider} say "${word}": ${await this.text()}`);
  }
}

async function walk(visit, { prompt, shut, replica, done, running, held, failed, retried, discarded }) {
  // Whoever has no token is led to the form, and from there to where they wanted to go.
  await visit.lead(() => visit.page.goto(`${origin}/providers`));
  await visit.type('#token', 'no token at all');
  await visit.pressed('Log in', 401);
  await visit.says('That is no token of this page.');
  await visit.logIn(operator);
  if (new URL(visit.page.url()).pathname !== '/providers') throw new Error(`led to ${visit.page.url()}`);

  await visit.says(shut);
  await visit.press(`form[action="/providers/${shut}/resume"] button`);
  await visit.pressed('Back');

  await visit.go('/');
  for (const path of PAGES) {
    await visit.press(`nav a[href="${path}"]`);
    const here = await visit.page.$eval('nav a[aria-current]', (link) => link.getAttribute('href'));
    if (here !== path) throw new Error(`${path} says that it is ${here}`);
  }
  for (const path of MORE) await visit.press(`footer a[href="${path}"]`);
  await visit.go('/');
  await visit.says(replica);
  await visit.page.click('details.change summary');
  await visit.pressed('Pause');
  await visit.pressed('Back');
  await visit.says('The queue is paused by');
  await visit.pressed('Resume');
  await visit.pressed('Back');

  await visit.go('/results');
  await visit.page.waitForFunction(() => [...document.images].some((image) => image.complete && image.naturalWidth > 0));
  await visit.type('input[name=provider]', 'builtin');
  await visit.type('input[name=collection]', 'group/7');
  await visit.pressed('Filter');
  await visit.says(`Job ${done}`);
  await visit.type('input[name=user]', 'nobody');
  await visit.pressed('Filter');
  await visit.says('A user is a number.');
  await visit.pressed('Clear');
  await visit.press('.sheet .picture');

  await visit.type('input[name=q]', `${done}`);
  await visit.pressed('Find');
  await visit.press(`main a[href="/jobs/${done}"]`);
  await visit.says(`job ${done} is done`);
  await visit.pressed('Reveal, and write that down');
  await visit.says('a prompt goes when its job ends');

  await visit.go(`/jobs/${failed}`);
  await visit.pressed('Reveal, and write that down');
  await visit.says(prompt);
  await visit.pressed('Retry');
  await visit.says('retried 1 package');
  await visit.go(`/jobs/${held}`);
  await visit.pressed('Release: another picture may be bought');

  await visit.cause(retried);
  await visit.pressed('Retry …');
  await visit.pressed('Leave it');
  await visit.pressed('Retry …');
  await visit.type('input[name=rate]', '100/s');
  await visit.pressed('Retry 2 packages');
  await visit.says('retried 2 packages');
  await visit.cause(discarded);
  await visit.pressed('Discard …');
  await visit.pressed('Discard 2 packages');
  await visit.says('purged 2 packages');

  await visit.go('/running');
  await visit.page.click(`details:has(form[action="/jobs/${running}/cancel"]) summary`);
  await visit.type(`form[action="/jobs/${running}/cancel"] input[name=reason]`, 'another one is wanted');
  await visit.press(`form[action="/jobs/${running}/cancel"] button`);
  await visit.says(`job ${running} is cancelled`);
  await visit.go(`/jobs/${running}`);
  await visit.says('another one is wanted');
  await visit.lead(() => visit.page.goto(`${origin}/jobs/2147483647`), 404);
  await visit.lead(() => visit.page.goto(`${origin}/nowhere`), 404);

  if (visit.hasScripts) {
    await visit.go('/');
    const at = (element) => element.dateTime;
    const made = await visit.page.$eval('.made time', at);
    await visit.page.waitForFunction((before) => document.querySelector('.made time').dateTime > before, {}, made);
  }
  await visit.pressed('Log out');

  // Whoever may only look finds nothing to press.
  await visit.logIn(viewer);
  for (const path of [...PAGES, ...MORE, `/jobs/${done}`, `/jobs/${failed}`]) {
    await visit.go(path);
    const actions = await visit.page.$$eval('form[method=post]', (forms) => forms.map((form) => form.getAttribute('action')));
    if (actions.some((action) => action !== '/logout')) throw new Error(`${path} offers a viewer ${actions}`);
  }
}

(async () => {
  const browser = await puppeteer.launch({
    executablePath: process.argv[2],
    // So that it ends with this program, however that ends.
    pipe: true,
    args: [
      // Tests run in containers too, as root, with little shared memory.
      '--no-sandbox', '--disable-dev-shm-usage',
      // Whatever is asked of another host than this one ends here.
      '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1', '--proxy-server=http://127.0.0.1:9', '--proxy-bypass-list=127.0.0.1',
      '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run',
      // A page that nobody sees is no less urgent here.
      '--disable-renderer-backgrounding', '--disable-backgrounding-occluded-windows',
    ],
  });
  for (const steps of walks) {
    const context = await browser.createBrowserContext();
    const page = await context.newPage();
    page.setDefaultTimeout(60000);
    await page.setViewport({ width: 1280, height: 900 });
    await page.setJavaScriptEnabled(steps.scripts);
    page.on('request', (request) => {
      const url = request.url();
      if (!url.startsWith(`${origin}/`) && !url.startsWith('data:')) foreign.add(url);
    });
    page.on('console', (message) => {
      // That a page is not there, or a token wrong, is said by its status.
      if (message.type() === 'error' && !message.text().includes('Failed to load resource')) fault(`the console: ${message.text()}`);
    });
    page.on('pageerror', (error) => fault(`a script: ${error.message}`));
    try {
      await walk(new Visit(page, steps.scripts), steps);
    } catch (error) {
      fault(`${steps.scripts ? 'with' : 'without'} scripts: ${error.stack}`);
    }
    await context.close();
  }
  await browser.close();
  for (const url of foreign) fault(`asked of another host: ${url}`);
  console.log(`${judged.size} pages`);
  process.exit(wrong.size ? 1 : 0);
})();
