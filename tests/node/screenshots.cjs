// Pictures of the operators' page of a demo.
//
//   node screenshots.cjs <chromium> <address of the page> <folder to write to>
'use strict';
const path = require('path');
const puppeteer = require('puppeteer-core');

const [chromium, address, folder] = process.argv.slice(2);
const DESK = { width: 1280, height: 860 };
const PHONE = { width: 390, height: 844, deviceScaleFactor: 1.5 };

(async () => {
  const browser = await puppeteer.launch({
    executablePath: chromium,
    pipe: true,
    args: ['--no-sandbox', '--disable-dev-shm-usage', '--hide-scrollbars', '--proxy-server=http://127.0.0.1:9', '--proxy-bypass-list=127.0.0.1'],
  });
  const page = await browser.newPage();
  const at = (where) => new URL(where, address).href;
  const shoot = async (name, where, viewport, scheme) => {
    await page.setViewport(viewport);
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
    await page.goto(at(where), { waitUntil: 'load' });
    await page.evaluate(() => Promise.all([...document.images].map((image) => {
      image.loading = 'eager';
      return image.complete || new Promise((ended) => { image.onload = image.onerror = ended; });
    })));
    await page.screenshot({ path: path.join(folder, `page-${name}.png`) });
  };
  await shoot('overview', './', DESK, 'light');
  await shoot('overview-phone', './', PHONE, 'dark');
  await shoot('results', './results', DESK, 'dark');
  await shoot('failures', './failures', DESK, 'light');
  await shoot('running', './running', DESK, 'light');
  await shoot('providers', './providers', DESK, 'dark');
  await shoot('callbacks', './callbacks', DESK, 'light');
  await page.goto(at('./results'));
  const done = await page.$eval('.sheet .picture', (link) => link.getAttribute('href'));
  await shoot('job', done, DESK, 'light');
  await page.goto(at('./failures'));
  const failed = await page.$eval('tr[data-group] a', (link) => link.getAttribute('href'));
  await page.goto(at(failed));
  await shoot('job-phone', await page.$eval('tbody a', (link) => link.getAttribute('href')), PHONE, 'light');
  await browser.close();
})();
