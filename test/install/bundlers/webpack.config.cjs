module.exports = [
  { name: 'commonjs', output: { path: `${__dirname}/webpack`, filename: 'cjs.cjs' } },
  { name: 'module', output: { path: `${__dirname}/webpack`, filename: 'es.mjs', module: true, chunkFormat: 'module' }, experiments: { outputModule: true } }
].map((each) => ({ ...each, mode: 'production', target: 'node20', entry: './app.mjs' }))
