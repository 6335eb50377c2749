// A Python process that stays up and answers JSON lines: make this work, run it n times, write what it gives. Tensors travel in safetensors files.

import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { TensorData } from '../../lib/index.js'
import { loadBinding } from '../../lib/native/load.js'
import type { Work } from './harness.js'
import { options } from './options.js'

export type PeerTensors = Record<string, TensorData>

const advice = 'Expected a Python with PyTorch for --peer: test/bench/peer/install.py makes one, --python names it'

interface Pending {
  resolve: (value: unknown) => void
  reject: (error: Error) => void
}

/** One work, in the ways PyTorch can run it: eager, compiled. */
export interface PeerWork {
  variants: string[]
  run(variant: string, threads: number): Work
  outputs(variant: string): Promise<PeerTensors>
  forget(): Promise<void>
}

export class Peer {
  readonly #child: ChildProcess
  readonly #folder = mkdtempSync(join(tmpdir(), 'vin-peer-'))
  readonly #pending: Pending[] = []
  #files = 0
  /** Of PyTorch. */
  version = ''

  private constructor() {
    const env = { ...process.env, PYTHONDONTWRITEBYTECODE: '1' }
    this.#child = spawn(options.python, ['-u', join(import.meta.dirname, 'peer', 'server.py')], { env, stdio: ['pipe', 'pipe', 'inherit'] })
    const lines = createInterface({ input: this.#child.stdout! })
    lines.on('line', (line) => {
      const { value, error } = JSON.parse(line) as { value?: unknown; error?: string }
      const { resolve, reject } = this.#pending.shift()!
      if (error === undefined) resolve(value)
      else reject(new Error(`PyTorch: ${error}`))
    })
    const ended = (reason: string) => {
      for (const { reject } of this.#pending.splice(0)) reject(new Error(`${advice} (${options.python} ${reason})`))
    }
    this.#child.on('error', (error) => ended(error.message))
    this.#child.on('close', (code) => ended(`ended with ${code}`))
  }

  /** Without --peer there is none. */
  static async open(): Promise<Peer | undefined> {
    if (!options.peer) return undefined
    const peer = new Peer()
    try {
      peer.version = (await peer.#call('hello', {})) as string
      return peer
    } catch (error) {
      rmSync(peer.#folder, { recursive: true })
      throw error
    }
  }

  #call(name: string, args: Record<string, unknown>): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#child.exitCode !== null) return reject(new Error(advice))
      this.#pending.push({ resolve, reject })
      this.#child.stdin!.write(`${JSON.stringify({ call: name, ...args })}\n`)
    })
  }

  #file(): string {
    return join(this.#folder, `${this.#files++}.safetensors`)
  }

  async make(work: string, inputs: PeerTensors, settings: Record<string, unknown> = {}): Promise<PeerWork> {
    const path = this.#file()
    loadBinding().writeSafetensors(path, inputs)
    const { id, variants } = (await this.#call('make', { work, path, options: { ...settings, quick: options.quick } })) as { id: number; variants: string[] }
    rmSync(path)
    return {
      variants,
      run: (variant, threads) => async (times) => (await this.#call('run', { id, variant, times, threads })) as number,
      outputs: async (variant) => {
        const file = this.#file()
        await this.#call('outputs', { id, variant, path: file })
        const { tensors } = loadBinding().readSafetensors(file)
        rmSync(file)
        return Object.fromEntries(Object.entries(tensors).map(([name, { data, shape }]) => [name, { data: data as Float32Array, shape }]))
      },
      forget: async () => void (await this.#call('forget', { id }))
    }
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#child.once('close', resolve))
    this.#child.stdin!.end()
    await closed
    rmSync(this.#folder, { recursive: true })
  }
}
