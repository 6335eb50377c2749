// The folder of this file. A .cts file is CommonJS in both builds (dist/esm/native/here.cjs and dist/cjs/native/here.cjs), so it has __dirname and require where
// `import.meta` cannot be written in code that both builds share.
export const here: string = __dirname
/** Loads CommonJS by name or path, as from this folder: `.node` files, node-gyp-build, package.json. */
export const requireFrom: (id: string) => unknown = (id) => require(id)
