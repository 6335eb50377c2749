/** What the scenario saw: plain JSON, equal in every project. */
export function scenario(vin: object, options?: { formats?: string[]; image?: boolean }): Promise<Record<string, unknown>>
