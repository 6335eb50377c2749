// Who wrote a file: the process, told from another with the same number that came after it. Temporary files and locks carry such a mark, so that those of a
// process that was killed can go.

import { createHash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { errorCode } from '../realms.js'

export interface ProcessMark {
  host: string
  pid: number
  /** Milliseconds between the machine's start and the process's: the same in all threads of a process. */
  started: number
}

export function thisProcess(): ProcessMark {
  return { host: hostname(), pid: process.pid, started: Math.max(0, Math.round(Number(process.hrtime.bigint() / 1_000_000n) - process.uptime() * 1000)) }
}

/** Whether a process has ended, as far as this machine can know: one of another machine may live. */
export function hasEnded({ host, pid, started }: ProcessMark): boolean {
  const own = thisProcess()
  if (host !== own.host) return false
  // In a container that was started again the first process has the same number as before.
  if (pid === own.pid) return Math.abs(started - own.started) > 1000
  try {
    process.kill(pid, 0)
    return isZombie(pid)
  } catch (error) {
    // EPERM: it lives and belongs to somebody else.
    return errorCode(error) === 'ESRCH'
  }
}

/** One that was killed keeps its number until its parent asks; in a container the first process often does not. */
function isZombie(pid: number): boolean {
  if (process.platform !== 'linux') return false
  try {
    return /\) [ZX] [^)]*$/.test(readFileSync(`/proc/${pid}/stat`, 'latin1'))
  } catch {
    return false
  }
}

const hash = (host: string): string => createHash('sha256').update(host).digest('hex').slice(0, 8)
const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0').slice(-digits)

/** A mark in 36 hexadecimal digits: host, process, its start, and eight that are random. */
export function newToken(): string {
  const { host, pid, started } = thisProcess()
  return hash(host) + hex(pid, 8) + hex(started, 12) + randomBytes(4).toString('hex')
}

/** Whether the process that made a token has ended. */
export function isTokenDead(token: string): boolean {
  const own = hostname()
  if (!/^[0-9a-f]{36}$/.test(token) || token.slice(0, 8) !== hash(own)) return false
  return hasEnded({ host: own, pid: Number.parseInt(token.slice(8, 16), 16), started: Number.parseInt(token.slice(16, 28), 16) })
}
