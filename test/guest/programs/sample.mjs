// One run of a model folder: latents to a file of bare floats, and the .mp4 if a path is given. With `stop` it tells its parent over IPC when it reaches that
// moment of writing that file, and waits there to be killed ('afterwards': it goes on, and is killed on the way).
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { basename } from 'node:path'
import { answer, config } from './parent.mjs'

const { model, load, options, latents, output, stop } = config

/** Waits to be killed. A promise alone would not keep the process. */
const forever = () => new Promise(() => setInterval(() => {}, 1000))

async function reached(file, moment) {
  if (stop?.file !== file || stop.moment !== moment) return
  process.send({ file, moment })
  if (moment !== 'afterwards') await forever()
}

// The moments of a file that appears whole or not at all: temporary file → write → sync → rename → sync of the folder.
const temporary = /^\.(.+)\.[0-9a-f]+\.tmp$/
const { open, rename } = fs.promises
fs.promises.open = async (path, flags, ...rest) => {
  const handle = await open(path, flags, ...rest)
  const file = temporary.exec(basename(path))?.[1]
  if (file === undefined || flags !== 'wx') return handle
  await reached(file, 'opened')
  const { write, sync } = handle
  let halved = false
  // The disk takes half of what it is given first.
  handle.write = async (bytes, offset) => {
    const left = bytes.length - offset
    if (halved || left < 2) return write.call(handle, bytes, offset)
    halved = true
    const result = await write.call(handle, bytes, offset, left >> 1)
    await reached(file, 'half written')
    return result
  }
  handle.sync = async () => {
    await reached(file, 'written')
    await sync.call(handle)
    await reached(file, 'synced')
  }
  return handle
}
fs.promises.rename = async (from, to) => {
  await rename(from, to)
  await reached(basename(to), 'renamed')
  void reached(basename(to), 'afterwards')
}
syncBuiltinESMExports()

const { VideoPipeline } = await import('../../../dist/esm/index.js')
const pipeline = await VideoPipeline.fromPretrained(model, { device: 'cpu', ...load })
let steps = 0
// Whoever is to be killed takes at least 20 ms a step, so that on every machine the kill lands within a step or two of its moment.
const onStep = async () => {
  steps++
  if (stop !== undefined) await new Promise((resolve) => setTimeout(resolve, 20))
}
const video = await pipeline.generate({ ...options, onStep })
// Whoever was to be killed while sampling goes no further.
if (stop?.file.startsWith('state-')) await forever()
if (latents !== undefined) fs.writeFileSync(latents, video.latents.data)
if (output !== undefined) await video.save(output)
await pipeline.dispose()
answer({ steps })
process.disconnect?.()
