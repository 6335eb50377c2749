// What a program of this folder says to the test that started it: options come as JSON in argv, the answer goes back as the last line of stdout.
export const config = JSON.parse(process.argv[2] ?? '{}')

export function answer(value) {
  process.stdout.write(`${JSON.stringify(value)}\n`)
}
