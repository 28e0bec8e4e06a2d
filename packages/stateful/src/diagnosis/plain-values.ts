/**
 * Keys and values of any application as JSON, and back.
 *
 *   Uint8Array -> { "$bytes": hex }    bigint -> { "$int": digits }    undefined -> { "$none": true }
 *
 * Invariant: equal values have equal text, whatever the order of their fields, and reading gives back what was written.
 * Fields that begin with "$" are this file's own.
 */
const HEX = /^(?:[0-9a-f]{2})*$/
const INT = /^-?[0-9]+$/

/** A value that JSON knows. */
export type Json = null | boolean | number | string | ReadonlyArray<Json> | { readonly [field: string]: Json }

/** A value as JSON. Throws TypeError for what is neither data nor made of it. */
export const toPlain = (value: unknown): Json => {
  if (value === undefined) return { $none: true }
  if (typeof value === "bigint") return { $int: value.toString() }
  if (value instanceof Uint8Array) return { $bytes: Buffer.from(value).toString("hex") }
  if (value === null || typeof value === "boolean" || typeof value === "string") return value
  if (typeof value === "number" && Number.isFinite(value)) return value
  if (Array.isArray(value)) return value.map(toPlain)
  if (typeof value !== "object") throw new TypeError(`a ${typeof value} is no data`)
  const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  if (fields.some(([name]) => name.startsWith("$"))) throw new TypeError("a field begins with $")
  return Object.fromEntries(fields.map(([name, field]) => [name, toPlain(field)]))
}

const special = (name: string, field: Json): unknown => {
  if (name === "$none" && field === true) return undefined
  if (name === "$int" && typeof field === "string" && INT.test(field)) return BigInt(field)
  if (name === "$bytes" && typeof field === "string" && HEX.test(field))
    return Uint8Array.from(Buffer.from(field, "hex"))
  throw new TypeError(`${name} is not written like this`)
}

/** What `toPlain` was given. Throws TypeError for what it does not write. */
export const fromPlain = (plain: Json): unknown => {
  if (typeof plain !== "object" || plain === null) return plain
  if (Array.isArray(plain)) return plain.map(fromPlain)
  const fields = Object.entries(plain as { readonly [field: string]: Json })
  const [first] = fields
  if (fields.length === 1 && first![0].startsWith("$")) return special(first![0], first![1])
  return Object.fromEntries(fields.map(([name, field]) => [name, fromPlain(field)]))
}
