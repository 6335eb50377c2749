import commonjs from '@rollup/plugin-commonjs'
import resolve from '@rollup/plugin-node-resolve'

export default ['es', 'cjs'].map((format) => ({
  input: 'app.mjs',
  output: { file: `rollup/${format}.${format === 'es' ? 'mjs' : 'cjs'}`, format, inlineDynamicImports: true },
  plugins: [resolve({ exportConditions: ['node'], preferBuiltins: true }), commonjs()]
}))
