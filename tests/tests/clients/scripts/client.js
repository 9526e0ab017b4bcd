'use strict';
// Node's http as a client: HOST:PORT COUNT. Says `ok` and a name for each thing that went well.

const assert = require('node:assert');
const http = require('node:http');
const { Readable } = require('node:stream');
const { pipeline } = require('node:stream/promises');
const { pieces, digest } = require('./pattern.js');

const [host, port] = process.argv[2].split(':');
const count = Number(process.argv[3]);
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const ports = new Set();

function begin(method, path, headers = {}) {
  const request = http.request({ host, port, method, path, agent, headers: { Host: 'shop', ...headers } });
  request.on('socket', (socket) => {
    const note = () => ports.add(socket.localPort);
    if (socket.connecting) socket.once('connect', note);
    else note();
  });
  const answered = new Promise((resolve, reject) => {
    request.on('response', resolve);
    request.on('error', reject);
  });
  // Looked at when it is awaited.
  answered.catch(() => {});
  return { request, answered };
}

async function text(response) {
  let all = '';
  for await (const part of response.setEncoding('utf8')) all += part;
  return all;
}

async function get(path) {
  const { request, answered } = begin('GET', path);
  request.end();
  return answered;
}

const ok = (name) => console.log('ok', name);

async function expectation(path) {
  const { request, answered } = begin('POST', path, { Expect: '100-continue', 'Content-Length': 5 });
  let continued = false;
  request.on('continue', () => {
    continued = true;
    request.end('hello');
  });
  request.flushHeaders();
  if (path === '/expect/ignore') request.end('hello');
  const response = await answered;
  const body = await text(response);
  if (!request.writableEnded) request.destroy();
  return { status: response.statusCode, continued, body };
}

async function run() {
  const expected = await digest(pieces(count));

  let { request, answered } = begin('POST', '/upload', { 'Content-Length': count });
  await pipeline(Readable.from(pieces(count)), request);
  let answer = JSON.parse(await text(await answered));
  assert.deepStrictEqual([answer.bytes, answer.sum], [count, expected.sum]);
  ok('upload of a length');

  ({ request, answered } = begin('POST', '/upload', { 'Transfer-Encoding': 'chunked', Trailer: 'X-Sum' }));
  await pipeline(Readable.from(pieces(count)), request, { end: false });
  request.addTrailers({ 'X-Sum': expected.sum });
  request.end();
  answer = JSON.parse(await text(await answered));
  assert.deepStrictEqual([answer.bytes, answer.sum], [count, expected.sum]);
  assert.deepStrictEqual(answer.trailers, { 'x-sum': expected.sum });
  ok('upload in chunks with a trailer');

  let response = await get(`/download?${count}`);
  assert.strictEqual(response.headers['content-length'], String(count));
  assert.deepStrictEqual(await digest(response), expected);
  ok('download of a length');

  response = await get(`/chunks?${count}`);
  assert.deepStrictEqual(await digest(response), expected);
  assert.deepStrictEqual(response.trailers, { 'x-sum': expected.sum });
  ok('download in chunks with a trailer');

  ({ request, answered } = begin('HEAD', `/download?${count}`));
  request.end();
  response = await answered;
  assert.deepStrictEqual([response.headers['content-length'], await text(response)], [String(count), '']);
  ok('HEAD');

  for (const status of [204, 304]) {
    response = await get(`/status/${status}`);
    assert.deepStrictEqual([response.statusCode, response.headers.etag, await text(response)], [status, '"e"', '']);
    ok(String(status));
  }

  assert.deepStrictEqual(await expectation('/upload').then(({ status, continued }) => [status, continued]), [200, true]);
  ok('100-continue granted');
  assert.strictEqual(ports.size, 1, `connections from ${[...ports]}`);
  ok('all on one connection');

  for (const status of [417, 401]) {
    const found = await expectation(`/expect/${status}`);
    assert.deepStrictEqual(found, { status, continued: false, body: 'no' });
    ok(`100-continue refused with ${status}`);
  }
  const ignored = await expectation('/expect/ignore');
  assert.deepStrictEqual([ignored.status, ignored.continued], [200, false]);
  ok('100-continue ignored');

  response = await get(`/to-the-end?${count}`);
  assert.deepStrictEqual(await digest(response), expected);
  ok('an answer that ends with its connection');
}

run().then(() => agent.destroy(), (error) => {
  console.error(error);
  process.exit(1);
});
