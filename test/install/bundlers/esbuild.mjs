import { build } from 'esbuild'

const common = { entryPoints: ['app.mjs'], bundle: true, platform: 'node', target: 'node20', minify: true, logLevel: 'warning' }
// CommonJS packages inside an ES module ask for `require`, which esbuild does not give them.
const banner = { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url)" }
await build({ ...common, format: 'esm', banner, outfile: 'out/esbuild-esm.mjs' })
await build({ ...common, format: 'cjs', outfile: 'out/esbuild-cjs.cjs' })
