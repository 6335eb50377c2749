// A vitest reporter that leaves records as job.mjs does: each file as it begins and ends, each test that failed.
import { appendFileSync } from 'node:fs'
import { relative } from 'node:path'

const { records } = JSON.parse(process.env.VIN_GPU_JOB)
const record = (row) => appendFileSync(records, `${JSON.stringify(row)}\n`)
const nameOf = (module) => relative(process.cwd(), module.moduleId)

/** As far as a report needs it. */
const reasonOf = (errors = []) => errors.map(({ message }) => message.split('\n')[0].slice(0, 400)).join('; ')

export default class {
  onTestModuleStart(module) {
    record({ kind: 'begin', item: nameOf(module) })
  }

  onTestCaseResult(test) {
    const { state, errors } = test.result()
    // A file may take longer than a silence may last.
    if (state !== 'failed') record({ kind: 'beat' })
    else record({ kind: 'test', item: nameOf(test.module), test: test.fullName, status: 'failed', reason: reasonOf(errors) })
  }

  onTestModuleEnd(module) {
    const tests = [...module.children.allTests()].map((test) => test.result().state)
    const [passed, failed] = ['passed', 'failed'].map((state) => tests.filter((each) => each === state).length)
    const status = module.state() === 'failed' || failed > 0 ? 'failed' : 'passed'
    console.log(`${nameOf(module)}: ${passed} passed${failed > 0 ? `, ${failed} failed` : ''}`)
    record({ kind: 'item', item: nameOf(module), status, passed, failed, milliseconds: Math.round(module.diagnostic().duration), ...(status === 'failed' && failed === 0 ? { reason: reasonOf(module.errors()) || 'the file ended before its tests had' } : {}) })
  }

  onTestRunEnd(_modules, errors) {
    for (const error of errors) record({ kind: 'test', status: 'failed', item: '', test: 'outside of a test', reason: reasonOf([error]) })
  }
}
