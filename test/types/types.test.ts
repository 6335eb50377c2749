// The type tests beside this file, checked by the TypeScript compiler: every error in them is a failed test. And every export of the library is in one of them.
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { beforeAll, expect, test } from 'vitest'

const root = join(import.meta.dirname, '..', '..')
const files = readdirSync(import.meta.dirname).filter((name) => name.endsWith('.test-d.ts'))
const index = join(root, 'lib', 'index.ts')

let program: ts.Program
beforeAll(() => {
  const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), (path) => readFileSync(path, 'utf8')) as { config: { compilerOptions: object } }
  const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root)
  program = ts.createProgram([...files.map((name) => join(import.meta.dirname, name)), index], options)
})

const source = (name: string): ts.SourceFile => program.getSourceFile(join(import.meta.dirname, name))!

test.each(files)('%s', (name) => {
  const file = source(name)
  const errors = [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)].map(({ start = 0, messageText }) => {
    const { line } = file.getLineAndCharacterOfPosition(start)
    return `${name}:${line + 1}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`
  })
  expect(errors).toEqual([])
})

/** Names from the library that a file uses beside importing them. */
function usedNames(file: ts.SourceFile): string[] {
  const used: string[] = []
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) return
    if (ts.isIdentifier(node)) used.push(node.text)
    ts.forEachChild(node, visit)
  }
  const imported = file.statements.filter(ts.isImportDeclaration).flatMap(({ importClause, moduleSpecifier }) => {
    const bindings = importClause?.namedBindings
    const own = ts.isStringLiteral(moduleSpecifier) && moduleSpecifier.text === '../../lib/index.js'
    return own && bindings !== undefined && ts.isNamedImports(bindings) ? bindings.elements.map(({ name }) => name.text) : []
  })
  visit(file)
  return imported.filter((name) => used.includes(name))
}

test('every export of the library, type or value, is in a type test', () => {
  const checker = program.getTypeChecker()
  const symbol = checker.getSymbolAtLocation(program.getSourceFile(index)!)!
  const exported = checker.getExportsOfModule(symbol).map(({ name }) => name)
  expect(exported.length).toBeGreaterThan(60)
  const tested = new Set(files.flatMap((name) => usedNames(source(name))))
  expect(exported.filter((name) => !tested.has(name))).toEqual([])
})
