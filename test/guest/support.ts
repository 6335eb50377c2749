// Programs of this folder in processes of their own: what a user's process sees of a run, measured where nothing else happens.
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import { root } from '../support/addon.js'
import { tinyPipeline, tinyTextEncoder, tinyTokenizer, tinyTransformer, tinyVAE } from '../support/models.js'

export interface StartOptions {
  /** Of node. */
  flags?: string[]
  env?: Record<string, string>
}

export interface Program {
  child: ChildProcess
  /** Exit code, signal and everything said, once it has ended. */
  ended: Promise<{ code: number | null; signal: NodeJS.Signals | null; stdout: string; stderr: string }>
}

export function startProgram(name: string, config: object, { flags = [], env = {} }: StartOptions = {}): Program {
  expect(existsSync(join(root, 'dist', 'esm', 'index.js')), 'npm run build makes dist/').toBe(true)
  const child = spawn(process.execPath, [...flags, join(import.meta.dirname, 'programs', name), JSON.stringify(config)], {
    env: { ...process.env, NODE_OPTIONS: '', ...env },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc']
  })
  let [stdout, stderr] = ['', '']
  child.stdout?.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
  child.stderr?.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
  const ended = new Promise<Awaited<Program['ended']>>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }))
  })
  return { child, ended }
}

/** What the program answers: the last line of its output. */
export async function answerOf<Answer>(name: string, config: object, options?: StartOptions): Promise<Answer> {
  const { code, signal, stdout, stderr } = await startProgram(name, config, options).ended
  expect({ code, signal }, `${name}: ${stderr}`).toEqual({ code: 0, signal: null })
  return JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as Answer
}

/** The tiny pipeline of test/support as a model folder. */
export async function writeTinyModel(folder: string, scheduler = 'FlowMatchEulerDiscreteScheduler'): Promise<void> {
  const json = async (path: string, value: unknown): Promise<void> => writeFile(join(folder, path), JSON.stringify(value))
  await using pipeline = await tinyPipeline()
  for (const part of ['transformer', 'vae', 'text_encoder', 'tokenizer', 'scheduler']) await mkdir(join(folder, part), { recursive: true })
  await json('model_index.json', { guidance_scale: 2, num_inference_steps: 4, width: 32, height: 32, fps: 16 })
  await json('transformer/config.json', tinyTransformer)
  await json('vae/config.json', tinyVAE)
  await json('text_encoder/config.json', { model_type: 't5', feed_forward_proj: 'gated-gelu', ...tinyTextEncoder })
  await json('tokenizer/tokenizer.json', tinyTokenizer)
  await json('scheduler/scheduler_config.json', { _class_name: scheduler, num_train_timesteps: 1000, ...(scheduler === 'DDIMScheduler' ? { clip_sample: false } : { shift: 1 }) })
  await pipeline.transformer.native.save(join(folder, 'transformer', 'diffusion_pytorch_model.safetensors'), { dtype: 'float32' })
  await pipeline.vae.native.save(join(folder, 'vae', 'diffusion_pytorch_model.safetensors'), { dtype: 'float32' })
  await pipeline.textEncoder.native.save(join(folder, 'text_encoder', 'model.safetensors'), { dtype: 'float32' })
}

/** Uniform numbers in [0, 1) from a seed: the same moments and mixes in every run of a test. */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}
