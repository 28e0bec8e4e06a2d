/**
 * SHA-256 of four preimages at a time, in the four lanes of 128-bit vectors.
 *
 * Terms: a lane is one of four preimages that are hashed together. Word t of their blocks is one vector, so each
 * instruction works for all four. A lane is done when its own last block has been compressed; the others go on and its
 * state is kept.
 *
 *   table: offsets of the preimages      input: their bytes           output: digests in order
 *   | o0 | o1 | o2 | o3 | o4 ...         | p0 | p1 | p2 | p3 | ...    | d0 | d1 | d2 | d3 | ...
 *      \____ one group ____/  ------------ transpose, compress, transpose ------------>
 *
 * Invariant: padding never leaves the kernel. The tail of a block is masked, and the bit after the message and the
 * length are put in on the way, so that preimages are read where they lie, whatever follows them.
 *
 * Source: FIPS 180-4, sections 4.1.2, 4.2.2, 5.1.1, 5.3.3 and 6.2.
 */
import { type Code, choose, get, i32, moduleOf, repeat, set, v128 } from "./assembler.ts"

/** Preimages that the kernel hashes together. */
export const LANES = 4

/** First byte of the memory that the kernel leaves to its caller. */
export const KERNEL_BYTES = 64 * 16

// Parameters and scalar locals.
const GROUPS = 0
const TABLE = 1
const INPUT = 2
const OUTPUT = 3
const POINTERS = [4, 5, 6, 7]
const SCALARS = 8

// Vector locals.
const vector = (n: number): number => SCALARS + n
const vectors = (from: number, count: number): ReadonlyArray<number> =>
  Array.from({ length: count }, (_, i) => vector(from + i))
const STATE = vectors(0, 8)
const WORK = vectors(8, 8)
const WORDS = vectors(16, 16)
const ROWS = vectors(32, 4)
const HALVES = vectors(36, 4)
const REMAINING = vector(40)
const BLOCKS = vector(41)
const BITS = vector(42)
const SUM = vector(43)
const XORS: readonly [number, number] = [vector(44), vector(45)]
// Constants of the tail, in locals: written out at each use they cost a sixth of the time (bench/hasher.bench.ts).
const PLACES = vector(46)
const MARK = vector(47)
const VECTORS = 48

type Eight = [number, number, number, number, number, number, number, number]

const range = (count: number): ReadonlyArray<number> => Array.from({ length: count }, (_, i) => i)

const splat = (n: number): Code => range(LANES).map(() => [n & 0xff, (n >>> 8) & 0xff, (n >>> 16) & 0xff, n >>> 24])
const constant = (n: number): Code => v128.const(splat(n))

/** First 32 bits of the fractional part of the square (2) or cube (3) root of a prime, by bisection in integers. */
const rootBits = (prime: number, degree: 2 | 3): number => {
  const target = BigInt(prime) << (32n * BigInt(degree))
  let low = 0n
  let high = BigInt(prime) << 32n
  while (low < high) {
    const middle = (low + high + 1n) >> 1n
    if (middle ** BigInt(degree) <= target) low = middle
    else high = middle - 1n
  }
  return Number(low & 0xffff_ffffn)
}

const primes = (count: number): ReadonlyArray<number> => {
  const found: number[] = []
  for (let n = 2; found.length < count; n++) if (found.every((prime) => n % prime !== 0)) found.push(n)
  return found
}

const rotate = (x: Code, bits: number): Code => v128.or(v128.shiftRight(x, bits), v128.shiftLeft(x, 32 - bits))
const xor3 = (a: Code, b: Code, c: Code): Code => v128.xor(v128.xor(a, b), c)
const bigSigma = (x: Code, a: number, b: number, c: number): Code => xor3(rotate(x, a), rotate(x, b), rotate(x, c))
const smallSigma = (x: Code, a: number, b: number, c: number): Code =>
  xor3(rotate(x, a), rotate(x, b), v128.shiftRight(x, c))

/** An order of bytes: those of the given words, each from its last byte to its first when `reversed`. */
const wordOrder = (words: ReadonlyArray<number>, reversed: boolean): Code =>
  words.map((word) => range(4).map((i) => word * 4 + (reversed ? 3 - i : i)))

const swap = (x: Code): Code => v128.shuffle(x, x, wordOrder([0, 1, 2, 3], true))

/** Transposes four vectors of four words; `put` stores each result. Reverses the bytes of each word when `reversed`. */
const transpose = (from: ReadonlyArray<number>, reversed: boolean, put: (row: number, value: Code) => Code): Code => {
  const [a, b, c, d] = from.map(get) as [Code, Code, Code, Code]
  const [lowAB, lowCD, highAB, highCD] = HALVES as [number, number, number, number]
  const low = wordOrder([0, 4, 1, 5], false)
  const high = wordOrder([2, 6, 3, 7], false)
  const even = wordOrder([0, 1, 4, 5], reversed)
  const odd = wordOrder([2, 3, 6, 7], reversed)
  return [
    set(lowAB, v128.shuffle(a, b, low)),
    set(lowCD, v128.shuffle(c, d, low)),
    set(highAB, v128.shuffle(a, b, high)),
    set(highCD, v128.shuffle(c, d, high)),
    put(0, v128.shuffle(get(lowAB), get(lowCD), even)),
    put(1, v128.shuffle(get(lowAB), get(lowCD), odd)),
    put(2, v128.shuffle(get(highAB), get(highCD), even)),
    put(3, v128.shuffle(get(highAB), get(highCD), odd)),
  ]
}

const sixteen = (byte: number): Code => new Array<number>(16).fill(byte)

/** Keeps the first `SUM` bytes of a lane's chunk and puts the bit after the message behind them. */
const cutTail = (bytes: Code, lane: number): Code => {
  const count = v128.shuffle(get(SUM), get(SUM), sixteen(lane * 4))
  const end = v128.and(v128.bytesEqual(get(PLACES), count), get(MARK))
  return v128.or(v128.and(bytes, v128.bytesLess(get(PLACES), count)), end)
}

/** Reads one block of each lane into the words; with tails when a lane ends in it or has ended before. */
const loadWords = (tails: boolean): Code =>
  range(4).map((chunk) => {
    const left = v128.sub(get(REMAINING), constant(chunk * 16))
    return [
      // Bytes of the chunk that belong to the message: 16 while its end is ahead, -1 once it is behind.
      tails ? set(SUM, v128.min(v128.max(left, constant(-1)), constant(16))) : [],
      ROWS.map((row, lane) => {
        const bytes = v128.load(get(POINTERS[lane]!), chunk * 16)
        return set(row, swap(tails ? cutTail(bytes, lane) : bytes))
      }),
      transpose(ROWS, false, (row, value) => set(WORDS[chunk * 4 + row]!, value)),
    ]
  })

/** In a lane's last block the last word is its length in bits; the word before stays zero below 2^29 bytes. */
const loadLength = set(WORDS[15]!, v128.select(get(BITS), get(WORDS[15]!), v128.equal(get(BLOCKS), constant(1))))

const extendWord = (t: number): Code => {
  const back = (distance: number): Code => get(WORDS[(t - distance) & 15]!)
  const far = v128.add(back(16), smallSigma(back(15), 7, 18, 3))
  const near = v128.add(back(7), smallSigma(back(2), 17, 19, 10))
  return set(WORDS[t & 15]!, v128.add(far, near))
}

const round = (t: number): Code => {
  // Instead of moving eight variables, each round names them one place further.
  const [a, b, , d, e, f, g, h] = range(8).map((i) => WORK[(i - t) & 7]!) as Eight
  const [ab, bc] = t % 2 === 0 ? XORS : [XORS[1], XORS[0]]
  const scheduled = v128.add(get(WORDS[t & 15]!), v128.load(i32.const(0), t * 16))
  const chosen = v128.add(v128.add(get(h), scheduled), v128.select(get(f), get(g), get(e)))
  // The majority of a, b and c is ((a ^ b) & (b ^ c)) ^ b, and this b ^ c was the a ^ b of the round before.
  const majority = v128.xor(v128.and(get(ab), get(bc)), get(b))
  return [
    t < 16 ? [] : extendWord(t),
    set(SUM, v128.add(chosen, bigSigma(get(e), 6, 11, 25))),
    set(d, v128.add(get(d), get(SUM))),
    set(ab, v128.xor(get(a), get(b))),
    set(h, v128.add(v128.add(get(SUM), majority), bigSigma(get(a), 2, 13, 22))),
  ]
}

const compress = (): Code => {
  const running = v128.greater(get(BLOCKS), constant(0))
  return [
    WORK.map((work, i) => set(work, get(STATE[i]!))),
    set(XORS[1], v128.xor(get(WORK[1]!), get(WORK[2]!))),
    range(64).map(round),
    STATE.map((state, i) => set(state, v128.select(v128.add(get(state), get(WORK[i]!)), get(state), running))),
  ]
}

const hashGroup = (): Code => {
  const start = [
    set(SUM, v128.load(get(TABLE), 0)),
    set(REMAINING, v128.sub(v128.load(get(TABLE), 4), get(SUM))),
    set(BITS, v128.shiftLeft(get(REMAINING), 3)),
    // The bit after the message and eight bytes of length must fit: ceil((length + 9) / 64) blocks.
    set(BLOCKS, v128.shiftRight(v128.add(get(REMAINING), constant(72)), 6)),
    POINTERS.map((pointer, lane) => set(pointer, i32.add(get(INPUT), v128.lane(get(SUM), lane)))),
    primes(8).map((prime, i) => set(STATE[i]!, constant(rootBits(prime, 2)))),
  ]
  const whole = v128.allTrue(v128.greater(get(REMAINING), constant(63)))
  const block = [
    choose(whole, loadWords(false), [loadWords(true), loadLength]),
    compress(),
    set(REMAINING, v128.sub(get(REMAINING), constant(64))),
    set(BLOCKS, v128.sub(get(BLOCKS), constant(1))),
    POINTERS.map((pointer) => set(pointer, i32.add(get(pointer), i32.const(64)))),
  ]
  const digests = [0, 16].map((half) =>
    transpose(STATE.slice(half / 4, half / 4 + 4), true, (lane, value) =>
      v128.store(get(OUTPUT), value, lane * 32 + half),
    ),
  )
  return [start, repeat(block, v128.anyTrue(v128.greater(get(BLOCKS), constant(0)))), digests]
}

/**
 * The kernel as a WebAssembly module with a memory of `pages` pages.
 *
 * Shape: `run(groups, table, input, output)` hashes `groups` times four preimages, `groups` being at least 1. Preimage
 * `i` lies at `input + offset[i] .. input + offset[i + 1]`, where `offset` are the 32-bit integers at `table`; its
 * digest goes to `output + 32 i`.
 * Bounds: every preimage is below 2^28 bytes. The kernel may read as far past the start of any preimage as the longest
 * one of its group is long, and up to 72 bytes more.
 */
export const kernelModule = (pages: number): Uint8Array<ArrayBuffer> => {
  const next = (local: number, step: number): Code => set(local, i32.add(get(local), i32.const(step)))
  const constants = [set(PLACES, v128.const(range(16))), set(MARK, v128.const(sixteen(0x80)))]
  const group = [hashGroup(), next(TABLE, 16), next(OUTPUT, 128), next(GROUPS, -1)]
  return moduleOf({
    parameters: 4,
    scalars: SCALARS - 4,
    vectors: VECTORS,
    body: [constants, repeat(group, get(GROUPS))],
    pages,
    data: primes(64).map((prime) => splat(rootBits(prime, 3))),
  })
}
