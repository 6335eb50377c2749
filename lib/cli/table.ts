// Tables of text: columns as wide as their widest cell.

/** One line, cut to a number of characters: a caption may have more lines, and a name whatever a terminal obeys. */
export function oneLine(given: string, most: number): string {
  const text = given.replace(/[\s\p{Cc}]+/gu, ' ').trim()
  return text.length > most ? `${text.slice(0, most - 1)}…` : text
}

/** @param right columns that are aligned on their right, as numbers are */
export function textTable(rows: readonly (readonly string[])[], right: ReadonlySet<number>): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows.map((row) => row.map((cell, column) => (right.has(column) ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!))).join('  ').trimEnd()).join('\n')
}
