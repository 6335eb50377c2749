// Starts a program that shares this one's terminal and resolves with its exit code, 128 + signal number when a signal ended it.
import { spawn } from 'node:child_process'
import { constants } from 'node:os'

export function run(command, args, { cwd, env, quiet = false } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env, stdio: quiet ? ['ignore', 'pipe', 'pipe'] : 'inherit' })
    let output = ''
    if (quiet) for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text))
    // Ctrl-C reaches the child by itself, being of the same terminal; this process stays to pass on how it ended.
    const ignore = () => {}
    const forward = (signal) => child.kill(signal)
    process.on('SIGINT', ignore).on('SIGTERM', forward)
    const finish = () => process.off('SIGINT', ignore).off('SIGTERM', forward)
    child.on('error', (error) => {
      finish()
      reject(error)
    })
    child.on('close', (code, signal) => {
      finish()
      if (quiet && code !== 0) process.stderr.write(output)
      resolve(code ?? 128 + (constants.signals[signal] ?? 0))
    })
  })
}
