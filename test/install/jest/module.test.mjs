import { readFileSync } from 'node:fs'
import * as vin from 'vin-native'
import { scenario } from './scenario.mjs'

test('the scenario gives what it gives without Jest', async () => {
  expect(await scenario(vin)).toEqual(JSON.parse(readFileSync(new URL('./expected.json', import.meta.url), 'utf8')))
}, 60_000)
