// Writes the built-in model: averaged weights in half precision, the frozen VAE, tokenizer, scheduler, and the settings of its sampler.

import { cp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { VAE, VideoPipeline } from 'vin-native'
import type { ModelOptions, WeightType } from 'vin-native'
import { ifThere } from './files.js'

export interface ExportOptions {
  /** Training folder. */
  folder: string
  /** Model folder; the model in it is replaced, other files stay: README, pictures, sources. */
  target: string
  dtype: WeightType
  /** Settings of the sampler that the model is shipped with; absent: those of the checkpoint. */
  shift?: number | undefined
  steps?: number | undefined
  guidance?: number | undefined
  model: ModelOptions
}

/** Changes fields of a JSON file; undefined ones stay. */
async function change(file: string, fields: Record<string, unknown>): Promise<void> {
  const before = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>
  await writeFile(file, JSON.stringify({ ...before, ...Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) }))
}

export async function exportModel({ folder, target, dtype, shift, steps, guidance, model }: ExportOptions): Promise<void> {
  const [checkpoint, decoder, parts] = ['transformer', 'vae-decoder', 'exported'].map((name) => join(folder, name)) as [string, string, string]
  await rm(parts, { recursive: true, force: true })
  try {
    // 1. The parts: averaged weights, and the frozen VAE, by whose very weights latents were made. Decoders that were trained since take the place of its own.
    {
      await using averaged = await ifThere(VideoPipeline.fromPretrained(checkpoint, model))
      if (averaged === undefined) throw new RangeError(`Expected a checkpoint of the transformer in ${checkpoint} but there is none`)
      await averaged.save(parts)
    }
    await rm(join(parts, 'vae'), { recursive: true })
    await using decoders = await ifThere(VAE.fromPretrained(decoder, model))
    if (decoders === undefined) await cp(join(folder, 'vae-final'), join(parts, 'vae'), { recursive: true })
    else await decoders.save(join(parts, 'vae'))
    // 2. The settings.
    await change(join(parts, 'scheduler', 'scheduler_config.json'), { shift })
    await change(join(parts, 'model_index.json'), { num_inference_steps: steps, guidance_scale: guidance })
    // 3. All of it takes the place of the old model, at once. The frozen VAE is in half precision already.
    await using whole = await VideoPipeline.fromPretrained(parts, model)
    await whole.save(target, { dtype: { transformer: dtype, textEncoder: dtype, vae: 'float16' } })
  } finally {
    await rm(parts, { recursive: true, force: true })
  }
  process.stdout.write(`wrote ${target}\n`)
}
