import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { expect, test } from 'vitest'
import * as vin from 'vin-native'
import { scenario } from './scenario.mjs'

const expected = () => JSON.parse(readFileSync(new URL('./expected.json', import.meta.url), 'utf8'))

test('the scenario gives what it gives without vitest', async () => {
  expect(await scenario(vin)).toEqual(expected())
}, 60_000)

test('the CommonJS build beside it does the same, and each knows the errors of the other', async () => {
  const required = createRequire(import.meta.url)('vin-native')
  expect((await scenario(required)).latents).toBe(expected().latents)
  const error = await required.VideoPipeline.fromPretrained('/nowhere').catch((reason) => reason)
  expect(error instanceof vin.VinError && error.code).toBe('ERR_VIN_MISSING_COMPONENT')
}, 60_000)
