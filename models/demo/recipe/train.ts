// npm run train:demo: trains the built-in model, stage by stage.

import { trainDemo } from './command.js'

trainDemo(process.argv.slice(2)).catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
  process.exitCode = 1
})
