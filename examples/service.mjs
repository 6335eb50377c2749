// An HTTP service: POST /videos with { "prompt": "…", "seed": 7 } answers an mp4. Its queue says no when it is full, a client that leaves stops its run, SIGTERM lets the run
// that is at work end, and the same request after a crash goes on from the state that was saved last.
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { VideoPipeline } from 'vin-native'

const statuses = {
  ERR_INVALID_ARG_TYPE: 400, ERR_OUT_OF_RANGE: 400, ERR_VIN_FORMAT: 422, ERR_VIN_MISSING_COMPONENT: 422, ERR_VIN_NOT_SUPPORTED: 422, ERR_VIN_QUEUE_FULL: 429,
  ERR_VIN_BACKEND_UNAVAILABLE: 503, ERR_VIN_DEVICE: 503, ERR_VIN_DISPOSED: 503, ERR_VIN_OUT_OF_MEMORY: 507, ERR_VIN_DISK: 507, ERR_VIN_RESUME_MISMATCH: 409
}
const states = process.env.STATES ?? join(tmpdir(), 'vin-states')
await mkdir(states, { recursive: true })
const pipeline = await VideoPipeline.fromPretrained('demo', { queueLimit: 8 })
let runs = 0

async function make(request, response) {
  const leaving = new AbortController()
  response.on('close', () => leaving.abort())
  try {
    // No prompt, and a body that is no object, are refused as any wrong value is.
    const { prompt = null, seed = 0, numFrames = 64 } = JSON.parse(await text(request)) ?? {}
    const options = { prompt, seed, numFrames }
    const resume = join(states, createHash('sha256').update(JSON.stringify(options)).digest('hex').slice(0, 16))
    const video = await pipeline.generate({ ...options, resume, signal: leaving.signal })
    const bytes = await video.toBuffer('mp4', { scale: 4, signal: leaving.signal })
    await rm(resume, { recursive: true, force: true })
    response.writeHead(200, { 'content-type': 'video/mp4', 'content-length': bytes.length }).end(bytes)
  } catch (error) {
    if (leaving.signal.aborted) return
    const status = error instanceof SyntaxError ? 400 : (statuses[error.code] ?? 500)
    const headers = status === 429 || status === 503 ? { 'retry-after': '10' } : {}
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify({ code: error.code, message: error.message }))
  }
}

const server = createServer((request, response) => {
  if (request.method === 'POST' && request.url === '/videos') {
    runs++
    void make(request, response).finally(() => runs--)
  } else if (request.url === '/healthz') response.end(JSON.stringify({ runs }))
  else response.writeHead(404).end()
})
server.listen(process.env.PORT ?? 8080, () => console.log(`http://localhost:${server.address().port}`))

await Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')])
// Requests that came before are answered; keep-alive connections without one are closed.
server.close()
server.closeIdleConnections()
await once(server, 'close')
await pipeline.dispose()
console.log('stopped')
