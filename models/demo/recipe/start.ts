// What a training folder begins with: untrained weights, or those of a model folder. Which one is written down, so that later commands agree.

import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { builtIn as shipped, writeWhole } from './files.js'

const FILE = 'start.json'
const SCRATCH = 'scratch'
const DEMO = 'demo'

/** Weights that a model folder must have to be gone on from. */
const weights = ['transformer/diffusion_pytorch_model.safetensors', 'text_encoder/model.safetensors', 'vae/diffusion_pytorch_model.safetensors']

function missingWeights(folder: string): string | undefined {
  return weights.find((file) => !existsSync(join(folder, file)))
}

async function recorded(folder: string): Promise<string | undefined> {
  const text = await readFile(join(folder, FILE), 'utf8').catch(() => undefined)
  return text === undefined ? undefined : String((JSON.parse(text) as { from: unknown }).from)
}

/**
The model folder that the training folder goes on from, undefined for untrained weights.

@param asked 'scratch', 'demo' or a model folder; absent: as the training folder began, and a fresh one begins with `builtIn` if that has weights
@throws RangeError when the training folder began with something else, or the model folder lacks weights
*/
export async function resolveStart(folder: string, asked: string | undefined, builtIn = shipped): Promise<string | undefined> {
  const wanted = asked === undefined || asked === SCRATCH || asked === DEMO ? asked : resolve(asked)
  const known = await recorded(folder)
  if (known !== undefined && wanted !== undefined && known !== wanted) {
    throw new RangeError(`Expected --from ${known}, with which the training in ${folder} began, but received ${asked}; use another --checkpoints folder`)
  }
  const from = known ?? wanted ?? (missingWeights(builtIn) === undefined ? DEMO : SCRATCH)
  const model = from === SCRATCH ? undefined : from === DEMO ? builtIn : from
  const missing = model === undefined ? undefined : missingWeights(model)
  if (missing !== undefined) throw new RangeError(`Expected a model folder for --from but ${join(model!, missing)} is not there`)
  if (!existsSync(join(folder, FILE))) await writeWhole(join(folder, FILE), `${JSON.stringify({ from })}\n`)
  return model
}
