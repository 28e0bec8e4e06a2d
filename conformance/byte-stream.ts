/**
 * The pseudo-random bytes that the published encodings draw their values from.
 *
 *   seed --> 8 key words --> ChaCha, 8 rounds, block after block --> values are drawn from the front, up to a limit
 *
 * Invariant: what is drawn follows from seed and limit alone (conformance/README.md, "Encoding rows").
 */
const BLOCK_WORDS = 16
const BLOCK_BYTES = 4 * BLOCK_WORDS
const CONSTANTS = [0x61707865, 0x3320646e, 0x79622d32, 0x6b206574] as const
const KEY_WORDS = 8
const U64 = 0xffff_ffff_ffff_ffffn

/** The key words of a seed. */
const keyOf = (seed: number): ReadonlyArray<number> => {
  let state = BigInt(seed)
  return Array.from({ length: KEY_WORDS }, () => {
    state = (state * 6_364_136_223_846_793_005n + 11_634_580_027_462_260_723n) & U64
    const mixed = Number((((state >> 18n) ^ state) >> 27n) & 0xffff_ffffn)
    const turn = Number(state >> 59n)
    return turn === 0 ? mixed : ((mixed >>> turn) | (mixed << (32 - turn))) >>> 0
  })
}

const quarter = (x: Uint32Array, a: number, b: number, c: number, d: number): void => {
  const turn = (word: number, by: number): number => (word << by) | (word >>> (32 - by))
  x[a]! += x[b]!
  x[d] = turn(x[d]! ^ x[a]!, 16)
  x[c]! += x[d]!
  x[b] = turn(x[b]! ^ x[c]!, 12)
  x[a]! += x[b]!
  x[d] = turn(x[d]! ^ x[a]!, 8)
  x[c]! += x[d]!
  x[b] = turn(x[b]! ^ x[c]!, 7)
}

const words = new Uint32Array(BLOCK_WORDS)

const encrypt = (input: Uint32Array, output: DataView): void => {
  const x = words
  x.set(input)
  for (let round = 0; round < 8; round += 2) {
    for (let i = 0; i < 4; i++) quarter(x, i, 4 + i, 8 + i, 12 + i)
    for (let i = 0; i < 4; i++) quarter(x, i, 4 + ((i + 1) % 4), 8 + ((i + 2) % 4), 12 + ((i + 3) % 4))
  }
  for (let i = 0; i < BLOCK_WORDS; i++) output.setUint32(4 * i, x[i]! + input[i]!, true)
}

/** A draw asked for more bytes than the limit leaves. */
export class OutOfBytes extends Error {
  readonly _tag = "OutOfBytes"
}

/** The stream of one seed, up to a limit. */
export class ByteStream {
  readonly #input = new Uint32Array(BLOCK_WORDS)
  readonly #block = new Uint8Array(BLOCK_BYTES)
  readonly #view = new DataView(this.#block.buffer)
  readonly #limit: number
  #next = 0

  constructor(seed: number, limit: number) {
    this.#limit = limit
    this.#input.set(CONSTANTS)
    this.#input.set(keyOf(seed), CONSTANTS.length)
  }

  /** Bytes that the limit leaves. */
  get remaining(): number {
    return this.#limit - this.#next
  }

  /** The next byte; 0 when none is left. */
  u8(): number {
    if (this.remaining === 0) return 0
    const at = this.#place()
    this.#next += 1
    return this.#block[at]!
  }

  /** Where the next byte stands in the block, which is made when it is the first. */
  #place(): number {
    const at = this.#next % BLOCK_BYTES
    if (at === 0) {
      this.#input[12] = this.#next / BLOCK_BYTES
      encrypt(this.#input, this.#view)
    }
    return at
  }

  /** The next bytes; 0 for those that are not left. */
  raw(count: number): Uint8Array {
    const bytes = new Uint8Array(count)
    const end = Math.min(count, this.remaining)
    for (let i = 0; i < end; ) {
      const at = this.#place()
      const part = this.#block.subarray(at, Math.min(BLOCK_BYTES, at + end - i))
      bytes.set(part, i)
      i += part.length
      this.#next += part.length
    }
    return bytes
  }

  /** The next bytes. Throws `OutOfBytes` when fewer are left. */
  bytes(count: number): Uint8Array {
    if (count > this.remaining) throw new OutOfBytes()
    return this.raw(count)
  }
}
