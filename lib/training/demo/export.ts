// Writes the built-in model: averaged weights in half precision, the frozen VAE, tokenizer, scheduler, and the settings of its sampler.

import { cp, mkdir, rename, rm } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { nativeAsync } from '../../errors.js'
import type { DType } from '../../native/binding.js'
import type { ModelOptions } from '../../options/model.js'
import { VideoPipeline } from '../../pipeline/pipeline.js'
import { settleCheckpoint, writeDurably } from '../checkpoint.js'
import { writeModelFolder } from '../trainer.js'
import { modelIndex } from './config.js'

export interface ExportOptions {
  /** Training folder. */
  folder: string
  /** Model folder; it is replaced. */
  target: string
  dtype: DType
  model: ModelOptions
}

export async function exportModel({ folder, target, dtype, model }: ExportOptions): Promise<void> {
  const checkpoint = join(folder, 'transformer')
  if (!(await settleCheckpoint(checkpoint))) throw new RangeError(`Expected a checkpoint of the transformer in ${checkpoint} but there is none`)
  const pipeline = await VideoPipeline.fromPretrained(checkpoint, model)
  const temporary = `${target}.next`
  try {
    await rm(temporary, { recursive: true, force: true })
    await mkdir(temporary, { recursive: true })
    await writeModelFolder(pipeline, temporary, pipeline.scheduler, {
      transformer: (path) => nativeAsync(() => pipeline.transformer.native.save(path, { dtype })),
      textEncoder: (path) => nativeAsync(() => pipeline.textEncoder.native.save(path, { dtype })),
      // The frozen VAE is in half precision already: latents were made by these very weights.
      vae: (path) => cp(join(folder, 'vae-final', 'diffusion_pytorch_model.safetensors'), path)
    })
    await writeDurably(join(temporary, 'model_index.json'), `${JSON.stringify(modelIndex, null, 2)}\n`)
    const old = `${target}.previous`
    await rm(old, { recursive: true, force: true })
    if (existsSync(target)) await rename(target, old)
    await rename(temporary, target)
    await rm(old, { recursive: true, force: true })
  } finally {
    await pipeline.dispose()
  }
  process.stdout.write(`wrote ${target}\n`)
}
