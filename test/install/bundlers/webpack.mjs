import { resolve } from 'node:path'
import webpack from 'webpack'

const common = { mode: 'production', optimization: { minimize: false }, target: 'node20', entry: './app.mjs' }
const path = resolve('out')
const compiler = webpack([
  { ...common, output: { path, filename: 'webpack-cjs.cjs' } },
  { ...common, output: { path, filename: 'webpack-esm.mjs', module: true, chunkFormat: 'module' }, experiments: { outputModule: true } }
])
compiler.run((error, stats) => {
  if (error) throw error
  if (stats.hasErrors() || stats.hasWarnings()) process.stderr.write(`${stats.toString({ preset: 'errors-warnings' })}\n`)
  process.exitCode = stats.hasErrors() ? 1 : 0
})
