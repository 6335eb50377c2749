// The program that is bundled.
import * as vin from 'vin-native'
import { scenario } from './scenario.cjs'

scenario(vin, JSON.parse(process.env.SCENARIO ?? '{}')).then((seen) => console.log(JSON.stringify(seen)))
