#!/usr/bin/env node
// The program `vin-native`.

import { main } from './main.js'

void main(process.argv.slice(2)).then((code) => {
  process.exitCode = code
})
