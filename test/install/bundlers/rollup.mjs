import commonjs from '@rollup/plugin-commonjs'
import resolve from '@rollup/plugin-node-resolve'
import { rollup } from 'rollup'

const bundle = await rollup({ input: 'app.mjs', plugins: [resolve({ exportConditions: ['node'], preferBuiltins: true }), commonjs()] })
for (const format of ['esm', 'cjs']) await bundle.write({ file: `out/rollup-${format}.${format === 'esm' ? 'mjs' : 'cjs'}`, format, inlineDynamicImports: true })
