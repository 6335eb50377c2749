// What a part of `npm run test:gpu` that is a program of its own shares: the engines, the records that it leaves, and one item after another.
import { appendFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'

const root = join(import.meta.dirname, '..', '..')

/** { records, plugin, plugins, rehearse, done: items that are not to be run again } */
export const job = JSON.parse(process.env.VIN_GPU_JOB)

export const { createEngine, ops } = createRequire(import.meta.url)(resolve(root, process.env.VIN_NATIVE_BINDING || 'build/Release/vin-native.node'))

export const openGPU = () => createEngine({ device: 'cuda', threads: 1, backendPath: job.plugin })

/** Written at once: what a crash or a kill comes after is kept. */
export const record = (row) => appendFileSync(job.records, `${JSON.stringify(row)}\n`)

/** Runs the items that are left; `work` returns the fields of the item's record. An item that throws has failed, and the next one runs. */
export async function forItems(items, nameOf, work) {
  if (job.done.length === 0) record({ kind: 'items', items: items.map(nameOf) })
  for (const item of items) {
    const name = nameOf(item)
    if (job.done.includes(name)) continue
    record({ kind: 'begin', item: name })
    try {
      record({ kind: 'item', item: name, status: 'passed', ...(await work(item)) })
    } catch (error) {
      record({ kind: 'item', item: name, status: 'failed', reason: error.message })
      process.exitCode = 1
    }
  }
}

/** A program of one item: what it throws is a sentence of the report. */
export async function whole(work) {
  try {
    await work()
  } catch (error) {
    record({ kind: 'said', status: 'failed', reason: error.message })
    process.exitCode = 1
  }
}
