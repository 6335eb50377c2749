// Proof that the tests can fail. A fault that no test notices ends in exit code 1.
//   node tools/mutants.mjs [--only NAME …]   faults of tools/mutants/list.mjs, planted in a copy of this folder (about half an hour)
//   node tools/mutants.mjs --ops [OP …]      one wrong element in each output of each op of csrc/ops.def (about two minutes; npm run build comes first)
import { testOps } from './mutants/ops.mjs'
import { testMutants } from './mutants/tree.mjs'

const [mode, ...names] = process.argv.slice(2)
if ((mode !== undefined && mode !== '--ops' && mode !== '--only') || (mode === '--only' && names.length === 0) || names.some((name) => name.startsWith('-'))) {
  console.error('usage: node tools/mutants.mjs [--only NAME …] | --ops [OP …]')
  process.exit(2)
}
try {
  process.exitCode = mode === '--ops' ? await testOps(names) : await testMutants(names)
} catch (error) {
  console.error(`vin-native: ${error.message}`)
  process.exitCode = 1
}
