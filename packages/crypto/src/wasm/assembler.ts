/**
 * A WebAssembly assembler of one page: the instructions that the SHA-256 kernel needs, and the frame of a module.
 *
 * Terms: code is a tree of bytes, flattened once at the end. An expression is code that leaves one value; a statement
 * leaves none. Instructions are functions from expressions to code, so that a formula reads as one. Locals are numbers,
 * parameters first.
 *
 * Nothing here optimizes: the engine does. Opcodes are those of the WebAssembly core specification, section 5.
 */

/** Bytes of a module, or of a part of one. */
export type Code = ReadonlyArray<number | Code>

const bytesOf = (code: Code, into: number[] = []): number[] => {
  for (const part of code) {
    if (typeof part === "number") into.push(part)
    else bytesOf(part, into)
  }
  return into
}

const unsigned = (n: number): Code => (n < 0x80 ? [n] : [(n & 0x7f) | 0x80, unsigned(n >>> 7)])

const signed = (n: number): Code => (n >= -64 && n < 64 ? [n & 0x7f] : [(n & 0x7f) | 0x80, signed(n >> 7)])

const binary =
  (opcode: Code) =>
  (a: Code, b: Code): Code => [a, b, opcode]

const simd = (opcode: number): Code => [0xfd, unsigned(opcode)]

/** The value of a local. */
export const get = (local: number): Code => [0x20, unsigned(local)]

/** Sets a local. */
export const set = (local: number, value: Code): Code => [value, 0x21, unsigned(local)]

/** Repeats a body for as long as a condition, evaluated after it, is not zero. */
export const repeat = (body: Code, condition: Code): Code => [0x03, 0x40, body, condition, 0x0d, 0, 0x0b]

/** One of two statements. */
export const choose = (condition: Code, then: Code, otherwise: Code): Code => [
  ...[condition, 0x04, 0x40],
  ...[then, 0x05, otherwise, 0x0b],
]

/** 32-bit integers. */
export const i32 = {
  const: (n: number): Code => [0x41, signed(n)],
  add: binary([0x6a]),
  sub: binary([0x6b]),
}

/** Vectors of 128 bits: four 32-bit lanes, or bytes where a name says so. Comparisons are signed. */
export const v128 = {
  const: (bytes: Code): Code => [simd(0x0c), bytes],
  load: (address: Code, offset: number): Code => [address, simd(0x00), 0, unsigned(offset)],
  store: (address: Code, value: Code, offset: number): Code => [address, value, simd(0x0b), 0, unsigned(offset)],
  and: binary(simd(0x4e)),
  or: binary(simd(0x50)),
  xor: binary(simd(0x51)),
  /** Bits of `a` where `mask` is set, else of `b`. */
  select: (a: Code, b: Code, mask: Code): Code => [a, b, mask, simd(0x52)],
  add: binary(simd(0xae)),
  sub: binary(simd(0xb1)),
  min: binary(simd(0xb6)),
  max: binary(simd(0xb8)),
  equal: binary(simd(0x37)),
  greater: binary(simd(0x3b)),
  bytesEqual: binary(simd(0x23)),
  bytesLess: binary(simd(0x25)),
  shiftLeft: (a: Code, bits: number): Code => [a, i32.const(bits), simd(0xab)],
  shiftRight: (a: Code, bits: number): Code => [a, i32.const(bits), simd(0xad)],
  /** The 16 bytes of `a` followed by `b` that `order` names. */
  shuffle: (a: Code, b: Code, order: Code): Code => [a, b, simd(0x0d), order],
  lane: (a: Code, lane: number): Code => [a, simd(0x1b), lane],
  anyTrue: (a: Code): Code => [a, simd(0x53)],
  allTrue: (a: Code): Code => [a, simd(0xa3)],
}

/** What a module of one function and one memory is made of. */
export interface ModuleParts {
  /** 32-bit parameters of the function; they are its first locals. */
  readonly parameters: number
  /** 32-bit locals after the parameters. */
  readonly scalars: number
  /** 128-bit locals after those. */
  readonly vectors: number
  readonly body: Code
  /** Pages of 64 KiB; the memory never grows. */
  readonly pages: number
  /** What the memory holds at address 0. */
  readonly data: Code
}

/** A module that exports its memory as `memory` and its function, which returns nothing, as `run`. */
export const moduleOf = ({ parameters, scalars, vectors, body, pages, data }: ModuleParts): Uint8Array<ArrayBuffer> => {
  const I32 = 0x7f
  const V128 = 0x7b
  const text = (value: string): Code => [value.length, ...new TextEncoder().encode(value)]
  const sized = (...code: Code): Code => {
    const bytes = bytesOf(code)
    return [unsigned(bytes.length), bytes]
  }
  const section = (id: number, ...content: Code): Code => [id, sized(...content)]
  const locals = [2, unsigned(scalars), I32, unsigned(vectors), V128]
  const module = [
    [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    section(1, 1, 0x60, parameters, new Array<number>(parameters).fill(I32), 0),
    section(3, 1, 0),
    section(5, 1, 1, unsigned(pages), unsigned(pages)),
    section(7, 2, text("memory"), 2, 0, text("run"), 0, 0),
    section(10, 1, sized(locals, body, 0x0b)),
    section(11, 1, 0, i32.const(0), 0x0b, sized(data)),
  ]
  return new Uint8Array(bytesOf(module))
}
