/**
 * Memory for arrays that are made and dropped together.
 *
 * To make and to collect an array of more than 64 bytes takes 1 to 3 us whatever its length, to make a view a tenth of that:
 * arrays of their own take a tenth of the seal of a hundred updates.
 *
 * Invariant: the arrays of a room do not overlap and begin as zeros. Those of 64 bits are taken first, so that all are aligned.
 */

/** One piece of memory, given out as arrays. */
export class Room {
  private readonly buffer: ArrayBuffer
  private used = 0

  constructor(bytes: number) {
    this.buffer = new ArrayBuffer(bytes)
  }

  private take(bytes: number): number {
    const at = this.used
    this.used += bytes
    return at
  }

  float64s(count: number): Float64Array {
    return new Float64Array(this.buffer, this.take(8 * count), count)
  }

  uint32s(count: number): Uint32Array {
    return new Uint32Array(this.buffer, this.take(4 * count), count)
  }

  int32s(count: number): Int32Array {
    return new Int32Array(this.buffer, this.take(4 * count), count)
  }
}

type Numbers = Float64Array | Uint32Array | Int32Array

/** The arrays with `more` elements each, copied into one piece of memory; those of 64 bits come first, as in a room. */
export const grown = <A extends ReadonlyArray<Numbers>>(more: number, ...arrays: A): A => {
  const room = new Room(
    arrays.reduce((bytes, { length, BYTES_PER_ELEMENT }) => bytes + (length + more) * BYTES_PER_ELEMENT, 0),
  )
  const grow = (array: Numbers): Numbers => {
    const count = array.length + more
    if (array instanceof Float64Array) return room.float64s(count)
    return array instanceof Int32Array ? room.int32s(count) : room.uint32s(count)
  }
  return arrays.map((array) => {
    const made = grow(array)
    made.set(array)
    return made
  }) as unknown as A
}

/** The first `count` elements: a view, or a copy where a view would keep much more. */
export const firstOf = <A extends Uint32Array | Float64Array>(array: A, count: number): A =>
  (array.length - count <= count / 8 ? array.subarray(0, count) : array.slice(0, count)) as A
