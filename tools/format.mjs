// Formats csrc/ and cuda/ with the clang-format that package-lock.json pins; with --check it changes nothing and names the files that it would change.
// csrc/ops.def is a table, one line per op, and stays as it is.
import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { filesBelow, root } from './stamp.mjs'

const files = filesBelow(['csrc', 'cuda']).filter((file) => /\.(h|cpp|cu|cuh)$/.test(file))
const check = process.argv.includes('--check')
const program = createRequire(import.meta.url).resolve('clang-format-node/build/cli.js')
const { status } = spawnSync(process.execPath, [program, ...(check ? ['--dry-run', '--Werror'] : ['-i']), ...files], { cwd: root, stdio: 'inherit' })
if (status !== 0 && check) console.error('csrc/ and cuda/ are not formatted: npm run format')
process.exit(status ?? 1)
