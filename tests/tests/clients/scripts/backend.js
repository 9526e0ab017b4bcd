'use strict';
// A backend made of Node's http. It says where it listens, and ends with its standard input.

const http = require('node:http');
const { Readable } = require('node:stream');
const { pipeline } = require('node:stream/promises');
const { pieces, digest } = require('./pattern.js');

const server = http.createServer((request, response) => {
  serve(request, response).catch(() => response.destroy());
});

async function serve(request, response) {
  const { pathname, search } = new URL(request.url, 'http://backend');
  const count = Number(search.slice(1) || 0);
  if (pathname === '/download') {
    response.writeHead(200, { 'Content-Length': count });
    if (request.method === 'HEAD') return response.end();
    return pipeline(Readable.from(pieces(count)), response);
  }
  if (pathname === '/chunks') {
    response.writeHead(200, { 'Transfer-Encoding': 'chunked', Trailer: 'X-Sum' });
    const { sum } = await digest(pieces(count));
    await pipeline(Readable.from(pieces(count)), response, { end: false });
    response.addTrailers({ 'X-Sum': sum });
    return response.end();
  }
  if (pathname === '/to-the-end') {
    // Neither a length nor chunks: the end of the connection is the end of the body.
    response.useChunkedEncodingByDefault = false;
    response.writeHead(200, { Connection: 'close' });
    return pipeline(Readable.from(pieces(count)), response);
  }
  if (pathname.startsWith('/status/')) {
    response.writeHead(Number(pathname.slice(8)), { ETag: '"e"' });
    return response.end();
  }
  if (pathname === '/early/413') {
    response.writeHead(413, { Connection: 'close', 'Content-Length': 8 });
    return response.end('too much', () => request.socket.destroySoon());
  }
  if (pathname === '/early/200') {
    response.writeHead(200, { 'Content-Length': 5 });
    response.end('early');
    await digest(request);
    return undefined;
  }
  if (request.method === 'GET') {
    response.writeHead(404, { 'Content-Length': 0 });
    return response.end();
  }
  const { count: bytes, sum } = await digest(request);
  const answer = JSON.stringify({ bytes, sum, trailers: request.trailers });
  response.writeHead(200, { 'Content-Length': answer.length });
  return response.end(answer);
}

server.on('checkContinue', (request, response) => {
  const { pathname } = new URL(request.url, 'http://backend');
  if (pathname === '/expect/417' || pathname === '/expect/401') {
    response.writeHead(Number(pathname.slice(-3)), { Connection: 'close', 'Content-Length': 2 });
    response.end('no');
    return;
  }
  if (pathname !== '/expect/ignore') response.writeContinue();
  server.emit('request', request, response);
});

server.listen(0, '127.0.0.1', () => {
  const { address, port } = server.address();
  console.log(`${address}:${port}`);
});
process.stdin.resume().on('end', () => process.exit());
