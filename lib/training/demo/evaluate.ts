// npm run evaluate:demo: does the built-in model do what prompts say, and does it keep what a curtain hides?

import { evaluateDemo } from '../../evaluate/demo/command.js'
import { isError } from '../../realms.js'

evaluateDemo(process.argv.slice(2)).catch((error: unknown) => {
  process.stderr.write(`${isError(error) ? (error.stack ?? error.message) : String(error)}\n`)
  process.exitCode = 1
})
