// The folder of this file. A .cts file is CommonJS in both builds (dist/esm/native/here.cjs and dist/cjs/native/here.cjs), so it has __dirname where `import.meta`
// cannot be written in code that both builds share. Bundled into an ES module it has none.
export const here: string | undefined = typeof __dirname === 'string' ? __dirname : undefined
