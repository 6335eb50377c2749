// The command line in child processes, with a small untrained model.

import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { VideoPipeline } from '../../lib/index.js'
import { packageRoot } from '../../lib/native/package-root.js'
import { demoTokenizerJson, demoVocabularySize } from '../../models/demo/recipe/tokenizer.js'
import { vaeConfig } from '../../models/demo/recipe/config.js'

const transformer = {
  attention_layout: 'full',
  depth: 2,
  hidden_size: 96,
  num_heads: 4,
  in_channels: 4,
  patch_size: [1, 2, 2],
  mlp_ratio: 4,
  caption_channels: 32,
  model_max_length: 24,
  qk_norm: true,
  pred_sigma: false,
  input_sq_size: 64,
  chunk_frames: 10,
  context_frames: 4,
  latent_fps: 5,
  max_latent_frames: 80,
  vin: { num_global_tokens: 8, dim: 96, num_heads: 4, num_blocks: 1, keyframe_interval: 0.4 }
}
const textEncoder = { model_type: 't5', vocab_size: demoVocabularySize, d_model: 32, d_kv: 8, d_ff: 64, num_layers: 1, num_heads: 4, feed_forward_proj: 'gated-gelu' }
const scheduler = { _class_name: 'FlowMatchEulerDiscreteScheduler', num_train_timesteps: 1000, shift: 2 }

/** Writes a whole model folder. */
export async function writeModel(folder: string): Promise<void> {
  const pipeline = await VideoPipeline.fromConfig({ transformer, vae: vaeConfig, textEncoder, tokenizer: demoTokenizerJson(), scheduler }, { seed: 3, device: 'cpu' })
  const json = async (path: string, value: unknown): Promise<void> => writeFile(join(folder, path), JSON.stringify(value))
  try {
    for (const part of ['transformer', 'vae', 'text_encoder', 'tokenizer', 'scheduler']) await mkdir(join(folder, part), { recursive: true })
    await json('model_index.json', { guidance_scale: 2, num_inference_steps: 4, width: 64, height: 64, fps: 16 })
    await json('transformer/config.json', transformer)
    await json('vae/config.json', vaeConfig)
    await json('text_encoder/config.json', textEncoder)
    await json('tokenizer/tokenizer.json', demoTokenizerJson())
    await json('scheduler/scheduler_config.json', scheduler)
    await pipeline.transformer.native.save(join(folder, 'transformer', 'diffusion_pytorch_model.safetensors'), { dtype: 'float32' })
    await pipeline.vae.native.save(join(folder, 'vae', 'diffusion_pytorch_model.safetensors'), { dtype: 'float32' })
    await pipeline.textEncoder.native.save(join(folder, 'text_encoder', 'model.safetensors'), { dtype: 'float32' })
  } finally {
    await pipeline.dispose()
  }
}

export interface Result {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

export interface Running {
  child: ChildProcess
  result: Promise<Result>
  /** Resolves when stdout has a line that fits. */
  line(pattern: RegExp): Promise<void>
}

export function start(cwd: string, ...args: string[]): Running {
  const child = spawn(process.execPath, [join(packageRoot(), 'dist', 'esm', 'cli', 'index.js'), ...args], { cwd, env: { ...process.env, NODE_OPTIONS: '' } })
  let [stdout, stderr] = ['', '']
  let check: () => void = () => {}
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString()
    check()
  })
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
  const result = new Promise<Result>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }))
  })
  const line = (pattern: RegExp): Promise<void> =>
    new Promise((resolve, reject) => {
      check = () => {
        if (pattern.test(stdout)) resolve()
      }
      check()
      void result.then(() => reject(new Error(`no line ${pattern} in ${stdout}\n${stderr}`)))
    })
  return { child, result, line }
}

export async function vinNative(cwd: string, ...args: string[]): Promise<Result> {
  return start(cwd, ...args).result
}

/** The lines of --json. */
export function events(stdout: string): Record<string, unknown>[] {
  return stdout
    .trim()
    .split('\n')
    .map((text) => JSON.parse(text) as Record<string, unknown>)
}
