/**
 * Sorting many entries at once without a comparator call per comparison.
 *
 * Terms: an *order* is a permutation of entry numbers. A *word* is a number of 32 bits; words are sorted digit by digit, least
 * significant first. Byte strings are sorted by their first four bytes as a word, and runs that agree in those by the next.
 *
 * Invariant: an order is ascending, ties by entry number. Sorting 32,768 entries by comparator takes as long as hashing
 * a third of them does; this takes a tenth of that.
 */
const WORD = 2 ** 32

/** Bits of a digit: a pass looks at every value of its digit, so few entries take more passes of shorter ones. */
const digitBits = (count: number): number => (count < 1024 ? 8 : 11)

/** Up to so many entries a comparator is faster. */
const COMPARED_MAX = 32

const CHUNK_BYTES = 4

/** Where the entries of each digit go next. A sort does not pause, so all share it. */
const PLACES = new Uint32Array(1 << digitBits(Number.POSITIVE_INFINITY))

/** A sort by words in progress: the order so far, the words of entries by their number, and room. */
interface Sorting {
  readonly order: Uint32Array
  readonly words: Uint32Array
  readonly spare: Uint32Array
}

/** Makes an order `0, 1, 2 ...`. */
const inTurn = (order: Uint32Array): Uint32Array => {
  for (let i = 0; i < order.length; i++) order[i] = i
  return order
}

const sortingOf = (count: number): Sorting => {
  const numbers = new Uint32Array(3 * count)
  return {
    order: inTurn(numbers.subarray(0, count)),
    words: numbers.subarray(count, 2 * count),
    spare: numbers.subarray(2 * count),
  }
}

/** One pass: moves `from` into `to` by a digit of `words`. Returns false, and moves nothing, when all share the digit. */
const pass = (words: Uint32Array, shift: number, bits: number, from: Uint32Array, to: Uint32Array): boolean => {
  const digits = 1 << bits
  const mask = digits - 1
  PLACES.fill(0, 0, digits)
  for (let i = 0; i < from.length; i++) PLACES[(words[from[i]!]! >>> shift) & mask]! += 1
  if (PLACES[(words[from[0]!]! >>> shift) & mask] === from.length) return false
  let sum = 0
  for (let digit = 0; digit < digits; digit++) {
    const here = PLACES[digit]!
    PLACES[digit] = sum
    sum += here
  }
  for (let i = 0; i < from.length; i++) {
    const entry = from[i]!
    const digit = (words[entry]! >>> shift) & mask
    to[PLACES[digit]!] = entry
    PLACES[digit]! += 1
  }
  return true
}

/** Sorts an order by words of at most `most`, entries of one word staying as they are. */
const orderByWord = ({ order, words, spare }: Sorting, most: number): void => {
  const bits = digitBits(order.length)
  let from = order
  let to = spare.subarray(0, order.length)
  for (let shift = 0; shift < 32 && most / 2 ** shift >= 1; shift += bits) {
    if (!pass(words, shift, bits, from, to)) continue
    const sorted = to
    to = from
    from = sorted
  }
  if (from !== order) order.set(from)
}

/** Indices `0 .. count` in ascending order of whole, non-negative values below 2^53. */
export const orderByNumber = (values: Float64Array, count: number): Uint32Array => {
  if (count <= COMPARED_MAX) return inTurn(new Uint32Array(count)).sort((a, b) => values[a]! - values[b]! || a - b)
  const sorting = sortingOf(count)
  const { order, words } = sorting
  let least = Number.POSITIVE_INFINITY
  let most = 0
  for (let i = 0; i < count; i++) {
    if (values[i]! < least) least = values[i]!
    if (values[i]! > most) most = values[i]!
  }
  // Storing keeps the low 32 bits; a remainder of doubles is a call.
  for (let i = 0; i < count; i++) words[i] = values[i]! - least
  const range = most - least
  orderByWord(sorting, Math.min(range, WORD - 1))
  if (range < WORD) return order
  for (let i = 0; i < count; i++) words[i] = (values[i]! - least) / WORD
  orderByWord(sorting, Math.floor(range / WORD))
  return order
}

/** Byte strings back to back: string `n` is `bytes[starts[n] .. starts[n + 1])`. */
export interface ByteStrings {
  readonly bytes: Uint8Array
  readonly starts: Uint32Array
  readonly count: number
}

/** Numbers `0 .. count` in ascending order of their byte strings. */
export const orderByBytes = (strings: ByteStrings): Uint32Array => {
  const { count } = strings
  if (count <= COMPARED_MAX) return compared(strings, inTurn(new Uint32Array(count)), 0)
  const sorting = sortingOf(count)
  refine(strings, sorting, 0)
  return sorting.order
}

const compared = (strings: ByteStrings, order: Uint32Array, depth: number): Uint32Array =>
  order.sort((a, b) => compare(strings, a, b, depth) || a - b)

/** Sorts entries that agree in their first `depth` bytes. */
const refine = (strings: ByteStrings, sorting: Sorting, depth: number): void => {
  const { order, words } = sorting
  if (order.length <= COMPARED_MAX) {
    compared(strings, order, depth)
    return
  }
  const { bytes, starts } = strings
  const skip = depth + commonBytes(strings, order, depth)
  for (let i = 0; i < order.length; i++) {
    const from = starts[order[i]!]! + skip
    const end = starts[order[i]! + 1]!
    let chunk = 0
    for (let at = from; at < from + CHUNK_BYTES; at++) chunk = (chunk << 8) | (at < end ? bytes[at]! : 0)
    words[order[i]!] = chunk
  }
  orderByWord(sorting, WORD - 1)
  for (let from = 0; from < order.length; ) {
    const chunk = words[order[from]!]
    let to = from + 1
    while (to < order.length && words[order[to]!] === chunk) to++
    if (to - from > 1) refineRun(strings, { ...sorting, order: order.subarray(from, to) }, skip + CHUNK_BYTES)
    from = to
  }
}

/** Strings that end within a chunk agree in it with longer ones that go on with zeros: they come first, by length. */
const refineRun = (strings: ByteStrings, sorting: Sorting, depth: number): void => {
  const { order: run } = sorting
  const { starts } = strings
  const length = (n: number): number => starts[n + 1]! - starts[n]!
  const ended = run.filter((n) => length(n) <= depth).sort((a, b) => length(a) - length(b) || a - b)
  const open = run.filter((n) => length(n) > depth)
  refine(strings, { ...sorting, order: open }, depth)
  run.set(ended)
  run.set(open, ended.length)
}

const compare = ({ bytes, starts }: ByteStrings, a: number, b: number, depth: number): number => {
  const aEnd = starts[a + 1]!
  const bEnd = starts[b + 1]!
  let i = starts[a]! + depth
  let j = starts[b]! + depth
  for (; i < aEnd && j < bEnd; i++, j++) if (bytes[i] !== bytes[j]) return bytes[i]! - bytes[j]!
  return aEnd - i - (bEnd - j)
}

/** How many bytes from `depth` on all of them share. */
const commonBytes = ({ bytes, starts }: ByteStrings, order: Uint32Array, depth: number): number => {
  const first = starts[order[0]!]! + depth
  let common = starts[order[0]! + 1]! - first
  for (let i = 1; i < order.length && common > 0; i++) {
    const from = starts[order[i]!]! + depth
    const most = Math.min(common, starts[order[i]! + 1]! - from)
    let same = 0
    while (same < most && bytes[first + same] === bytes[from + same]) same++
    common = same
  }
  return common
}
