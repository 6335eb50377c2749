// The program that is bundled.
import * as vin from 'vin-native'
import { scenario } from './scenario.mjs'

scenario(vin, JSON.parse(process.env.SCENARIO ?? '{}')).then((seen) => console.log(JSON.stringify(seen)))
