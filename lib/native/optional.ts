// What the user may have installed beside vin-native, and what is never shipped: programs on PATH, and sharp.

import { spawn, type ChildProcess } from 'node:child_process'
import { access, constants, stat } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import type sharp from 'sharp'
import { VinError, abortReason } from '../errors.js'
import { errorCode, errorMessage } from '../realms.js'
import { requireFrom } from './package-root.js'
import { permitted } from './permission.js'
import { onAbort } from './signals.js'

/** The path of a program on PATH. */
export async function findProgram(name: string): Promise<string | undefined> {
  const file = process.platform === 'win32' ? `${name}.exe` : name
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    if (folder === '') continue
    const path = join(folder, file)
    try {
      await access(path, constants.X_OK)
      if ((await stat(path)).isFile()) return path
    } catch {
      continue
    }
  }
  return undefined
}

interface Process {
  child: ChildProcess
  /** Resolves at exit code 0 with what the program said on standard error, the last 2000 characters; rejects with its last words, or with the signal's reason. */
  done: Promise<string>
}

/**
Starts a program by its path, no shell; an abort kills it.

@throws ERR_VIN_NOT_SUPPORTED where Node's permission model forbids it
*/
export function startProgram(path: string, args: string[], signal?: AbortSignal): Process {
  signal?.throwIfAborted()
  const child = permitted('--allow-child-process', path, () => spawn(path, args, { stdio: ['pipe', 'pipe', 'pipe'], windowsHide: true }))
  let errorText = ''
  child.stderr.on('data', (chunk: Buffer) => (errorText = (errorText + chunk.toString()).slice(-2000)))
  // A program that ends early closes its input: its exit code tells why, EPIPE does not.
  child.stdin.on('error', () => {})
  const kill = (): void => void child.kill('SIGKILL')
  const release = onAbort(signal, kill)
  const done = new Promise<string>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, killedBy) => {
      release()
      if (signal?.aborted === true) reject(abortReason(signal))
      else if (code === 0) resolve(errorText)
      else reject(new VinError('ERR_VIN_FORMAT', `Expected ${path} to succeed but it ended with ${killedBy ?? `code ${String(code)}`}: ${errorText.trim().split('\n').at(-1) ?? ''}`, { program: path, code, output: errorText }))
    })
  })
  done.catch(() => {})
  return { child, done }
}

/** Everything a program prints, with bytes for its input. */
export async function collectOutput(path: string, args: string[], input?: Uint8Array, options: { signal?: AbortSignal | undefined; maxBytes?: number } = {}): Promise<Buffer> {
  const { child, done } = startProgram(path, args, options.signal)
  const chunks: Buffer[] = []
  let bytes = 0
  child.stdout!.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    if (bytes > (options.maxBytes ?? 2 ** 31)) child.kill('SIGKILL')
    else chunks.push(chunk)
  })
  child.stdin!.end(input)
  await done
  return Buffer.concat(chunks)
}

export type Sharp = typeof sharp

export interface FoundSharp {
  /** Absent: not installed, or it does not load. */
  sharp?: Sharp
  /** Why an installed one does not load: without its binary for this machine, where addons are forbidden, … */
  refused?: string
}

/** sharp, if the user installed it and it loads. */
export async function loadSharp(): Promise<FoundSharp> {
  try {
    return { sharp: requireFrom('sharp') as Sharp }
  } catch (error) {
    return errorCode(error) === 'MODULE_NOT_FOUND' ? {} : { refused: errorMessage(error).split('\n')[0]! }
  }
}

/** The end of a sentence that asks for sharp or ffmpeg. */
export function foundNeither({ refused }: FoundSharp): string {
  return refused === undefined ? 'found neither' : `found no ffmpeg, and the installed sharp does not load (${refused})`
}
