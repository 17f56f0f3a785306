// Serves Kinesalite over TLS: node server.js HOST PORT CERTIFICATE KEY, the last two being files in PEM.
// Its own command line knows neither an address to listen on nor files for a certificate. Every request is
// logged, so that a test sees what reached the service.
'use strict'

const fs = require('fs')
const kinesalite = require('kinesalite')

const [host, port, cert, key] = process.argv.slice(2)
const server = kinesalite({ssl: true, cert: fs.readFileSync(cert), key: fs.readFileSync(key), createStreamMs: 50})

server.prependListener('request', (request) => {
  console.log(request.headers['x-amz-target'], 'at', request.headers.host, 'from', request.headers['user-agent'])
})
server.listen(port, host)
