const { readFileSync } = require('node:fs')
const { join } = require('node:path')
const vin = require('vin-native')
const { scenario } = require('./scenario.cjs')

test('the scenario gives what it gives without Jest', async () => {
  expect(await scenario(vin)).toEqual(JSON.parse(readFileSync(join(__dirname, 'expected.json'), 'utf8')))
}, 60_000)
