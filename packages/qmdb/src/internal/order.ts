/**
 * Sorting many entries at once without a comparator call per comparison.
 *
 * Invariant: the result is the permutation that sorts ascending, ties by index. A 32k-entry sort by comparator takes
 * longer than hashing the entries does; packed into doubles it is a native numeric sort.
 */

const ascending = (values: Float64Array, count: number): Uint32Array => {
  const order = new Uint32Array(count)
  for (let i = 0; i < count; i++) order[i] = i
  return order.sort((a, b) => values[a]! - values[b]! || a - b)
}

/** Indices `0 .. count` in ascending order of whole, non-negative values. */
export const orderByNumber = (values: Float64Array, count: number): Uint32Array => {
  let low = Number.POSITIVE_INFINITY
  let high = 0
  for (let i = 0; i < count; i++) {
    const value = values[i]!
    if (value < low) low = value
    if (value > high) high = value
  }
  if (count === 0 || (high - low + 1) * count > Number.MAX_SAFE_INTEGER) return ascending(values, count)
  const packed = new Float64Array(count)
  for (let i = 0; i < count; i++) packed[i] = (values[i]! - low) * count + i
  packed.sort()
  const order = new Uint32Array(count)
  for (let i = 0; i < count; i++) order[i] = packed[i]! % count
  return order
}

const leading = (text: string): number =>
  (text.charCodeAt(0) || 0) * 0x1000000 +
  (text.charCodeAt(1) || 0) * 0x10000 +
  (text.charCodeAt(2) || 0) * 0x100 +
  (text.charCodeAt(3) || 0)

/** Indices in ascending order of latin1 texts. */
export const orderByText = (texts: ReadonlyArray<string>): Uint32Array => {
  const count = texts.length
  const prefixes = new Float64Array(count)
  for (let i = 0; i < count; i++) prefixes[i] = leading(texts[i]!)
  const order = orderByNumber(prefixes, count)
  for (let from = 0; from < count; ) {
    let to = from + 1
    while (to < count && prefixes[order[to]!] === prefixes[order[from]!]) to++
    if (to - from > 1) {
      order.subarray(from, to).sort((a, b) => (texts[a]! < texts[b]! ? -1 : texts[a]! > texts[b]! ? 1 : a - b))
    }
    from = to
  }
  return order
}
