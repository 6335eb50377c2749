// Writes the built-in model: averaged weights in half precision, the frozen VAE, tokenizer, scheduler, and the settings of its sampler.

import { cp, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { nativeAsync } from '../../errors.js'
import { writeDurably } from '../../files/disk.js'
import { VAE } from '../../models/vae.js'
import type { DType } from '../../native/binding.js'
import type { ModelOptions } from '../../options/model.js'
import { VideoPipeline } from '../../pipeline/pipeline.js'
import { createScheduler } from '../../schedulers/index.js'
import { replaceModel, settleCheckpoint } from '../checkpoint.js'
import { writeModelFolder } from '../trainer.js'

export interface ExportOptions {
  /** Training folder. */
  folder: string
  /** Model folder; the model in it is replaced, other files stay: README, pictures. */
  target: string
  dtype: DType
  /** Settings of the sampler that the model is shipped with; absent: those of the checkpoint. */
  shift?: number | undefined
  steps?: number | undefined
  guidance?: number | undefined
  model: ModelOptions
}

/** The frozen VAE, which is in half precision already: latents were made by these very weights. Decoders that were trained since take the place of its own. */
async function exportVAE(folder: string, path: string, model: ModelOptions): Promise<void> {
  const decoder = join(folder, 'vae-decoder')
  if (!(await settleCheckpoint(decoder))) return cp(join(folder, 'vae-final', 'diffusion_pytorch_model.safetensors'), path)
  const vae = await VAE.fromPretrained(decoder, model)
  try {
    await nativeAsync(() => vae.native.save(path, { dtype: 'float16' }))
  } finally {
    await vae.dispose()
  }
}

export async function exportModel({ folder, target, dtype, shift, steps, guidance, model }: ExportOptions): Promise<void> {
  const checkpoint = join(folder, 'transformer')
  if (!(await settleCheckpoint(checkpoint))) throw new RangeError(`Expected a checkpoint of the transformer in ${checkpoint} but there is none`)
  const pipeline = await VideoPipeline.fromPretrained(checkpoint, model)
  try {
    await replaceModel(target, async (temporary) => {
      const scheduler = createScheduler(shift === undefined ? pipeline.scheduler : { ...pipeline.scheduler.config, shift })
      await writeModelFolder(pipeline, temporary, scheduler, {
        transformer: (path) => nativeAsync(() => pipeline.transformer.native.save(path, { dtype })),
        textEncoder: (path) => nativeAsync(() => pipeline.textEncoder.native.save(path, { dtype })),
        vae: (path) => exportVAE(folder, path, model)
      })
      const index = join(temporary, 'model_index.json')
      const written = JSON.parse(await readFile(index, 'utf8')) as Record<string, unknown>
      await writeDurably(index, `${JSON.stringify({ ...written, ...(steps === undefined ? {} : { num_inference_steps: steps }), ...(guidance === undefined ? {} : { guidance_scale: guidance }) }, null, 2)}\n`)
    })
  } finally {
    await pipeline.dispose()
  }
  process.stdout.write(`wrote ${target}\n`)
}
