// npm run train:demo: trains the built-in model, stage by stage.

import { isError } from '../../realms.js'
import { trainDemo } from './command.js'

trainDemo(process.argv.slice(2)).catch((error: unknown) => {
  process.stderr.write(`${isError(error) ? (error.stack ?? error.message) : String(error)}\n`)
  process.exitCode = 1
})
