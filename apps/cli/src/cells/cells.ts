/**
 * The application that torture and simulation run: random writes, overwrites and removals in two databases, and a model
 * of it in a map.
 *
 * Terms: a *stroke* writes one cell, or clears it. The value of a cell follows from the stroke alone.
 *
 * Invariant: `execute` and `Model` decide the same from the same blocks, by different code: what the databases hold at a
 * height is what the model holds at that height.
 */
import { Blob, Bytes, Struct, U32, U64 } from "@coppice/codec"
import type { Hasher } from "@coppice/crypto"
import { Qmdb } from "@coppice/qmdb"
import { Application, type InputProvider, type Readers, type StandardBlock } from "@coppice/stateful"
import { drawnInputs } from "@coppice/stateful/diagnosis"
import { Effect } from "effect"

/** How much happens. */
export interface Workload {
  /** Cells that strokes hit. */
  readonly cells: number
  /** Strokes of one block. */
  readonly strokes: number
}

const FIXED_BYTES = 160
const NOTE_BYTES_MAX = 4096

/** One write, or one removal when its nonce is a multiple of `CLEAR_EVERY`. */
export interface Stroke {
  readonly cell: number
  readonly nonce: bigint
}

const CLEAR_EVERY = 7n
const StrokeCodec = Struct({ cell: U32, nonce: U64 })

const keyOf = (cell: number): Uint8Array => {
  const key = new Uint8Array(32)
  new DataView(key.buffer).setUint32(28, cell)
  return key
}

const fixedOf = ({ cell, nonce }: Stroke): Uint8Array =>
  new Uint8Array(FIXED_BYTES).fill(Number((BigInt(cell) * 31n + nonce) % 251n))

const noteOf = ({ cell, nonce }: Stroke): Uint8Array =>
  new Uint8Array(Number((BigInt(cell) + nonce * 1009n) % BigInt(NOTE_BYTES_MAX))).fill(Number(nonce % 253n))

const cells = {
  fixed: Qmdb.any({ key: Bytes(32), value: Bytes(FIXED_BYTES) }),
  notes: Qmdb.any({ key: Bytes(32), value: Blob(NOTE_BYTES_MAX) }),
}

/** Its databases: values of one size, and of many. */
export type CellsDatabases = typeof cells

/** Its blocks. */
export type CellsBlock = StandardBlock<Stroke, CellsDatabases>

/** The application, over a provider of strokes, telling when a block is durable. */
export const makeCells = (
  hasher: Hasher,
  inputs?: InputProvider<Stroke>,
  durable: (block: CellsBlock) => void = () => {},
) =>
  Application.make({
    name: "cells",
    databases: cells,
    transaction: StrokeCodec,
    hasher,
    execute: ({ fixed, notes }, stroke) => {
      const key = keyOf(stroke.cell)
      if (stroke.nonce % CLEAR_EVERY === 0n) {
        if (fixed.get(key) !== undefined) fixed.remove(key)
        if (notes.get(key) !== undefined) notes.remove(key)
        return
      }
      fixed.put(key, fixedOf(stroke))
      notes.put(key, noteOf(stroke))
    },
    finalized: (block) => Effect.sync(() => durable(block)),
    ...(inputs === undefined ? {} : { inputs }),
  })

/** Strokes without end, the same for the same start. `from` is the first nonce: above every nonce used before. */
export const makeStrokes = ({ cells: count, strokes }: Workload, from: bigint): InputProvider<Stroke> => {
  let nonce = from
  const stroke = (): Stroke => ({ cell: Number((nonce * 7919n) % BigInt(count)), nonce: nonce++ })
  return drawnInputs(
    () => Array.from({ length: strokes }, stroke),
    () => 0,
  )
}

/** What the databases must hold, kept beside them from the final blocks alone. */
export class Model {
  readonly #last = new Map<number, Stroke>()
  readonly #cells: number
  height = 0

  constructor({ cells: count }: Workload) {
    this.#cells = count
  }

  /** Takes in the block after `height`. */
  advance(block: CellsBlock): void {
    if (block.height !== this.height + 1)
      throw new Error(`the model is at ${this.height}, the block at ${block.height}`)
    for (const stroke of block.transactions) {
      if (stroke.nonce % CLEAR_EVERY === 0n) this.#last.delete(stroke.cell)
      else this.#last.set(stroke.cell, stroke)
    }
    this.height = block.height
  }

  /** The first cell that differs from the databases; undefined when all agree. */
  difference({ fixed, notes }: Readers<CellsDatabases>): number | undefined {
    if (fixed.active !== this.#last.size || notes.active !== this.#last.size) return -1
    for (let cell = 0; cell < this.#cells; cell++) {
      const stroke = this.#last.get(cell)
      const key = keyOf(cell)
      const [value, note] = [fixed.get(key), notes.get(key)]
      if (stroke === undefined ? value !== undefined || note !== undefined : !holds(stroke, value, note)) return cell
    }
    return undefined
  }
}

const holds = (stroke: Stroke, value: Uint8Array | undefined, note: Uint8Array | undefined): boolean =>
  value !== undefined &&
  note !== undefined &&
  Buffer.compare(value, fixedOf(stroke)) === 0 &&
  Buffer.compare(note, noteOf(stroke)) === 0
