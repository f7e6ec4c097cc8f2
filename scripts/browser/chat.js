// Checks the chat page in a real browser: two tabs join one room and talk to each other.
//
//   npm ci && node chat.js http://127.0.0.1:8080/ [SCREENSHOT_FOLDER]
//
// CHROMIUM names the browser (default /usr/bin/chromium); POOL_PID, if set, is the pool that serves
// the page, which is reloaded to see that nobody is disconnected. Exits 0 if all holds, 1 with the first
// thing that does not, 2 if called wrongly. Nothing is waited for longer than ten seconds.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { chromium } from 'playwright-core';

const WIDE = { width: 1100, height: 720 };
const NARROW = { width: 375, height: 700 };

const [base, folder] = process.argv.slice(2);
if (!base) {
  console.error('usage: node chat.js URL [SCREENSHOT_FOLDER]');
  process.exit(2);
}
if (folder) await mkdir(folder, { recursive: true });

const room = `check-${randomUUID().slice(0, 8)}`;
const complaints = [];

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  // Without these, Chromium talks to its maker's servers and, as root, does not start at all.
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync',
  ],
});
try {
  const ada = await open('Ada', { colorScheme: 'light', viewport: WIDE });
  await see(ada, '.note', 'You joined as Ada.');
  await screenshot(ada, 'quiet-light');
  const grace = await open('Grace', { colorScheme: 'dark', viewport: WIDE });
  await see(ada, '.note', 'Grace joined.');

  await talk(ada, grace);
  await screenshot(ada, 'wide-light');
  await screenshot(grace, 'wide-dark');
  console.log(`Ada and Grace talk: ${await servedBy(ada)}; ${await servedBy(grace)}`);

  await writtenMarkupStaysText(ada, grace);
  if (process.env.POOL_PID) await aReloadPartsNobody(ada, grace);
  await nameAndRoomCanBeChangedByKeyboard(grace);
  await see(ada, '.note', 'Grace left.');

  await ada.setViewportSize(NARROW);
  await screenshot(ada, 'narrow-light');
  await aLostConnectionComesBack();
  assert.deepEqual(complaints, [], 'the pages reported errors');
  console.log('ok');
} catch (error) {
  console.error(`failed: ${error.message}`);
  process.exitCode = 1;
} finally {
  await browser.close();
}

/** Opens the chat in a tab of its own profile and waits until a worker has welcomed it. */
async function open(name, options, prepare = async () => {}) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(10_000);
  const page = await context.newPage();
  page.on('pageerror', (error) => complaints.push(`${name}: ${error.message}`));
  page.on('console', (line) => line.type() === 'error' && complaints.push(`${name}: ${line.text()}`));
  await prepare(page);
  const url = new URL(base);
  url.searchParams.set('room', room);
  url.searchParams.set('name', name);
  await page.goto(url.href);
  await connected(page);
  return page;
}

async function connected(page) {
  await page.locator('#state[data-state=connected]').waitFor();
  assert.match(await page.locator('#pid').innerText(), /^[1-9]\d*$/, 'the page shows no pid');
  assert.match(await page.locator('#generation').innerText(), /^\d+$/, 'the page shows no generation');
}

/** Each says two things with the keyboard alone, and both must see all four, in order. */
async function talk(ada, grace) {
  const said = [
    [ada, 'Hello Grace, which worker are you on?'],
    [grace, 'Another one than you, I hope. The supervisor holds both our sockets.'],
    [grace, 'Two lines,\nsent as one message.'],
    [ada, 'Then a deploy need not part us.'],
  ];
  for (const [page, text] of said) {
    const [first, ...rest] = text.split('\n');
    await page.locator('#text').focus();
    await page.keyboard.type(first);
    for (const line of rest) {
      await page.keyboard.press('Shift+Enter');
      await page.keyboard.type(line);
    }
    await page.keyboard.press('Enter');
    await see(ada, '.message .text', text);
    await see(grace, '.message .text', text);
  }
  for (const page of [ada, grace]) {
    const shown = await page.locator('.message .text').evaluateAll((all) => all.map((one) => one.textContent));
    assert.deepEqual(shown, said.map(([, text]) => text), 'messages are missing, doubled or out of order');
  }
}

async function writtenMarkupStaysText(writer, reader) {
  const markup = '<img src=x onerror="document.title=1"> & <b>bold</b>';
  await writer.locator('#text').fill(markup);
  await writer.locator('#send').click();
  await see(reader, '.message .text', markup);
  assert.equal(await reader.locator('#log img, #log b').count(), 0, 'a message became HTML');
}

/** Both tabs stay connected, and show that another worker of the next generation serves them. */
async function aReloadPartsNobody(ada, grace) {
  const generation = Number(await ada.locator('#generation').innerText());
  process.kill(Number(process.env.POOL_PID), 'SIGHUP');
  for (const page of [ada, grace]) {
    await see(page, '.note', 'The app was reloaded; the connection stayed open');
    assert.equal(Number(await page.locator('#generation').innerText()), generation + 1);
    assert.equal(await page.locator('.note', { hasText: 'Disconnected' }).count(), 0, 'a tab was disconnected');
  }
  await ada.locator('#text').fill('Still here after the reload.');
  await ada.locator('#send').click();
  await see(grace, '.message .text', 'Still here after the reload.');
  await screenshot(ada, 'reloaded-light');
}

async function nameAndRoomCanBeChangedByKeyboard(page) {
  await page.locator('#identity').focus();
  await page.keyboard.press('Enter');
  await page.locator('#joining').waitFor();
  await screenshot(page, 'dialog-dark');
  await page.keyboard.type('Grace Hopper');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Control+a');
  await page.keyboard.type(`${room}-b`);
  await page.keyboard.press('Enter');
  await see(page, '.note', 'You joined as Grace Hopper.');
  assert.equal(await page.locator('h1').innerText(), `${room}-b`);
}

/** The connection is cut between page and server, with the code of a reload. */
async function aLostConnectionComesBack() {
  let cut;
  const page = await open('Joan', { colorScheme: 'dark', viewport: NARROW }, (page) =>
    page.routeWebSocket(/\/ws\/chat/, (socket) => {
      const server = socket.connectToServer();
      cut = async () => {
        await server.close();
        await socket.close({ code: 1012, reason: 'server reloading' });
      };
    }));
  await page.locator('#text').fill('a draft');
  await cut();
  // In one look, for a quarter of a second later the page may be connected again.
  await page.locator('body:has(#state[data-state=waiting]):has(#send:disabled)').waitFor();
  await screenshot(page, 'lost-dark');
  await see(page, '.note', 'Disconnected: server reloading (1012).');
  await connected(page);
  assert.equal(await page.locator('#text').inputValue(), 'a draft', 'the draft is lost');
  await page.locator('#send').click();
  await see(page, '.message .text', 'a draft');
}

async function see(page, selector, text) {
  await page.locator(selector).filter({ hasText: text }).first().waitFor()
    .catch(() => { throw new Error(`"${text}" did not appear`); });
}

async function servedBy(page) {
  return page.locator('#server').innerText();
}

async function screenshot(page, name) {
  if (folder) await page.screenshot({ path: path.join(folder, `${name}.png`) });
}
