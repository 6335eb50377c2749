// npm run evaluate:demo: does the built-in model do what prompts say, and does it keep what a curtain hides?

import { evaluateDemo } from './command.js'

evaluateDemo(process.argv.slice(2)).catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
  process.exitCode = 1
})
