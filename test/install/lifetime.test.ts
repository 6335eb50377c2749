// Ends of a process with the addon at work, each in a child process: no abort, no crash, no process that does not end.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { root } from '../support/addon.js'
import { tinyTransformer } from '../support/models.js'

// Each child opens an engine of its own, on machines that may be busy.
vi.setConfig({ testTimeout: 180_000 })

const entry = join(root, 'dist', 'esm', 'index.js')
const commonJs = join(root, 'dist', 'cjs', 'index.js')
let folder: string
beforeAll(async () => {
  expect(existsSync(entry), 'npm run build makes dist/').toBe(true)
  folder = await mkdtemp(join(tmpdir(), 'vin-lifetime-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

/** A long run; `body` sees `pipeline`, `options` and `reached(step)`. */
const program = (load: string, body: string): string => `
${load}
const pipeline = await VideoPipeline.fromConfig({ transformer: ${JSON.stringify(tinyTransformer)} }, { device: 'cpu', defaults: { width: 64, height: 64 } })
const promptEmbeds = await randn({ seed: 1, shape: [5, 32] })
const options = { promptEmbeds, outputType: 'latents', numFrames: 256, numInferenceSteps: 500 }
const after = (step, action) => pipeline.generate({ ...options, onStep: (event) => (event.step === step ? action() : undefined) })
${body}
`
const esm = `import { VideoPipeline, randn } from ${JSON.stringify(pathToFileURL(entry).href)}`

async function run(name: string, text: string): Promise<{ code: number | null; signal: string | null; output: string }> {
  const file = join(folder, name)
  await writeFile(file, text)
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [file], { timeout: 150_000 }, (_error, stdout, stderr) => resolve({ code: child.exitCode, signal: child.signalCode, output: stdout + stderr }))
  })
}

describe('a process ends', () => {
  test.each([
    ['by itself, with nothing disposed', 'await pipeline.generate({ ...options, numInferenceSteps: 2 }); console.log("made")', 0, /made/],
    ['disposed', 'await pipeline.generate({ ...options, numInferenceSteps: 2 }); await pipeline.dispose(); console.log("made")', 0, /made/],
    ['by process.exit during a run', 'await after(1, () => process.exit(7))', 7, /^$/],
    ['by an uncaught throw during a run', 'await after(1, () => setImmediate(() => { throw new Error("on purpose") }))', 1, /on purpose/],
    ['by an unobserved failure', 'pipeline.generate({ ...options, numFrames: 0 }); await new Promise((resolve) => setTimeout(resolve, 5000))', 1, /numFrames/]
  ])('%s', async (name, body, code, output) => {
    const result = await run(`${name.replace(/\W+/g, '-')}.mjs`, program(esm, body))
    expect(result).toMatchObject({ code, signal: null })
    expect(result.output).toMatch(output)
  })

  test('loaded by require', async () => {
    const text = `(async () => { ${program(`const { VideoPipeline, randn } = require(${JSON.stringify(commonJs)})`, 'await pipeline.generate({ ...options, numInferenceSteps: 1 }); console.log("made")')} })()`
    expect(await run('required.cjs', text)).toMatchObject({ code: 0, signal: null, output: expect.stringContaining('made') })
  })
})

test('workers are terminated during a run, several at once and again and again', async () => {
  const worker = join(folder, 'worker.mjs')
  await writeFile(worker, program(`${esm}\nimport { parentPort } from 'node:worker_threads'`, 'await after(1, () => parentPort.postMessage("running"))'))
  const main = `
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
for (let round = 0; round < 5; round++) {
  const workers = [0, 1].map(() => new Worker(${JSON.stringify(worker)}))
  await Promise.all(workers.map(async (worker) => { await once(worker, 'message'); await worker.terminate() }))
}
console.log('ended')
`
  expect(await run('main.mjs', main)).toMatchObject({ code: 0, signal: null, output: expect.stringContaining('ended') })
})

test('twenty workers terminated at work leave no engine, no memory and no thread behind', async () => {
  const worker = join(folder, 'leaves.mjs')
  await writeFile(
    worker,
    program(
      `${esm}\nimport { parentPort } from 'node:worker_threads'`,
      `
const job = pipeline.generate(options)
let step = 0
// Some have commands waiting, some read latents, some wait for a hook.
const watched = after(3, () => pipeline.denoise({ latents: { data: new Float32Array(4 * 80 * 64), shape: [4, 80, 8, 8] }, timestep: 1, promptEmbeds }))
watched.catch(() => {})
for await (const event of job) if (event.type === 'step' && step++ === 1) { parentPort.postMessage('running'); void event.latents() }`
    )
  )
  const load = pathToFileURL(join(root, 'dist', 'esm', 'native', 'load.js')).href
  const main = `
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { loadBinding } from ${JSON.stringify(load)}
const { memory } = loadBinding()
const threads = () => Number(/Threads:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? 0)
const rounds = async (count) => {
  for (let round = 0; round < count; round++) {
    const workers = [0, 1].map(() => new Worker(${JSON.stringify(worker)}))
    await Promise.all(workers.map(async (worker, i) => { await once(worker, 'message'); await sleep(4 * ((2 * round + i) % 7)); await worker.terminate() }))
  }
}
await rounds(1)
const before = threads()
await rounds(9)
console.log(JSON.stringify({ ...memory(), threads: threads() - before }))
`
  const { output } = await run('leaves-nothing.mjs', main)
  expect(JSON.parse(output)).toEqual({ bytes: 0, handles: 0, engines: 0, threads: 0 })
})
